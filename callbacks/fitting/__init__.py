"""Least-squares fits of many spectra at once, which xas and stxm both need: fractions of references, and shifts."""

from callbacks.fitting.linear_combination import LinearCombination, fit_linear_combination
from callbacks.fitting.nonnegative import Unmixed, misfit, ratio, unmix
from callbacks.fitting.variable_projection import Projection, Shapes, fit_shapes

__all__ = [
    "LinearCombination",
    "Projection",
    "Shapes",
    "Unmixed",
    "fit_linear_combination",
    "fit_shapes",
    "misfit",
    "ratio",
    "unmix",
]
