"""Analyse runs in Python: what was measured, reduced and analysed as xarray datasets, with units and uncertainties.

Start with `open_runs`. Each variable has the attributes ``units`` (where it has any) and ``long_name``; the name of its
standard uncertainty, ``NAME_sigma``, is in ``ancillary_variables``, as the CF conventions have it. What is not known is
NaN, and the attribute that ends in ``status`` says why. All attributes can be written to NetCDF.
"""

from beamline.analysis.comparing import difference, ratio
from beamline.analysis.datasets import dataset_of, stream_dataset
from beamline.analysis.reading_off import read_off, spectrum_image
from beamline.analysis.runs import Analysis, DataFolder, MeasuredRun, open_runs

__all__ = [
    "Analysis",
    "DataFolder",
    "MeasuredRun",
    "dataset_of",
    "difference",
    "open_runs",
    "ratio",
    "read_off",
    "spectrum_image",
    "stream_dataset",
]
