"""Convert scans in files of other instruments to the documents of raw runs."""

from beamline.formats.importers.irixs import irixs_documents
from beamline.formats.importers.ncb import ncb_documents
from beamline.formats.importers.nexus import nexus_documents
from beamline.formats.importers.nxstxm import nxstxm_documents
from beamline.formats.importers.sdf import sdf_documents

__all__ = ["irixs_documents", "ncb_documents", "nexus_documents", "nxstxm_documents", "sdf_documents"]
