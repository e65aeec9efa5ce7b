"""The vocabulary: every stream name, data key, unit and block, and what each step gives, spelled once.

Plans, devices, importers, simulators, steps and reports import these; nothing else spells a key.
"""

from callbacks.contract.blocks import (
    DERIVATION,
    MEASUREMENT,
    PROCESSING,
    SERIES,
    Derivation,
    Measurement,
    Series,
    StxmGrid,
    StxmRegion,
)
from callbacks.contract.keys import CCD, SCANNER, UNITS, CcdConfig, Key, ScannerConfig, Stream
from callbacks.contract.outputs import Account, DataKey, Described, Marks, Output, Result
from callbacks.contract.rixs import (
    CalibrationResult,
    IntegrationResult,
    RixsMapResult,
    RixsOutput,
    RixsResult,
    RowsResult,
)
from callbacks.contract.stxm import (
    AlignmentResult,
    AnalysisResult,
    DensityResult,
    FocusOutput,
    FocusResult,
    ImageOutput,
    LineOutput,
    LineResult,
    PooledResult,
    RegionsResult,
    StackResult,
    StxmResult,
)
from callbacks.contract.xas import XasOutput, XasResult

__all__ = [
    "CCD",
    "DERIVATION",
    "MEASUREMENT",
    "PROCESSING",
    "SCANNER",
    "SERIES",
    "UNITS",
    "Account",
    "AlignmentResult",
    "AnalysisResult",
    "CalibrationResult",
    "CcdConfig",
    "DataKey",
    "DensityResult",
    "Derivation",
    "Described",
    "FocusOutput",
    "FocusResult",
    "ImageOutput",
    "IntegrationResult",
    "Key",
    "LineOutput",
    "LineResult",
    "Marks",
    "Measurement",
    "Output",
    "PooledResult",
    "RegionsResult",
    "Result",
    "RixsMapResult",
    "RixsOutput",
    "RixsResult",
    "RowsResult",
    "ScannerConfig",
    "Series",
    "StackResult",
    "Stream",
    "StxmGrid",
    "StxmRegion",
    "StxmResult",
    "XasOutput",
    "XasResult",
]
