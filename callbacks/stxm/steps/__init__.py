"""The steps of a STXM reduction: thin classes with the running state, on top of the other rooms."""

from callbacks.stxm.steps.absorbance import Absorbance, AbsorbanceSettings
from callbacks.stxm.steps.chemistry import Chemistry
from callbacks.stxm.steps.components import StreamingComponents
from callbacks.stxm.steps.focus import Focus
from callbacks.stxm.steps.lines import ImageAssembly, LineCorrection, LineSettings
from callbacks.stxm.steps.registration import Registration

__all__ = [
    "Absorbance",
    "AbsorbanceSettings",
    "Chemistry",
    "Focus",
    "ImageAssembly",
    "LineCorrection",
    "LineSettings",
    "Registration",
    "StreamingComponents",
]
