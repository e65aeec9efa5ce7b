"""Optical density: which pixels hold no sample, and the incident flux that these measure."""

from callbacks.stxm.density.blank import Blank, BlankSettings, find_blank, incident_rate

__all__ = ["Blank", "BlankSettings", "find_blank", "incident_rate"]
