"""Analysis by a recipe: what is read off absorption spectra, pixels of stacks and cuts of RIXS maps, all alike."""

from callbacks.analysis.analyse import analyse
from callbacks.analysis.measured import Measured, Reference, Spectra, Value
from callbacks.analysis.recipe import Recipe
from callbacks.analysis.rows import Pixels, Row

__all__ = ["Measured", "Pixels", "Recipe", "Reference", "Row", "Spectra", "Value", "analyse"]
