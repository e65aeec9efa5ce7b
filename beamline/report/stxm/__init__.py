"""Figures of STXM runs: which ones a report shows, and how each is drawn."""

from beamline.report.stxm.curves import spectra
from beamline.report.stxm.focus import focus_figures
from beamline.report.stxm.pooled import pooled_figures
from beamline.report.stxm.stack import stack_figures

__all__ = ["focus_figures", "pooled_figures", "spectra", "stack_figures"]
