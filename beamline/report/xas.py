"""The figures of an absorption spectrum's report."""

from __future__ import annotations

from collections.abc import Iterable

from beamline.report import figures
from beamline.report.figures import Drawn, incident_flux
from beamline.storage.results import Run
from callbacks.contract import XasResult


def spectrum_figures(raw: Run, derived: Run, title: str) -> Iterable[Drawn]:
    """Draw the spectra of both yields that could be normalised, and the incident flux."""
    result = derived.read(XasResult)
    yields = {
        name: (spectrum, sigma)
        for name, spectrum, sigma, status in (
            ("tey", result.tey, result.tey_sigma, result.tey_status),
            ("tfy", result.tfy, result.tfy_sigma, result.tfy_status),
        )
        if status == "ok"
    }
    yield (
        "Absorption spectra",
        "Normalised to I0, pre-edge subtracted, edge normalised; with 68 % bands.",
        figures.absorption(result.xas_energy, yields, title=title, label="normalised yield"),
    )
    yield incident_flux(raw, result.marked_frames, derived.frames["frame"])
