"""Write runs in the file formats of other programs."""

from beamline.formats.exporters.analysis import write_analysis
from beamline.formats.exporters.columns import Table, write_tables
from beamline.formats.exporters.nexus import Axis, Plot, write_nexus
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.formats.exporters.nxxas import write_nxxas

__all__ = ["Axis", "Plot", "Table", "write_analysis", "write_nexus", "write_nxstxm", "write_nxxas", "write_tables"]
