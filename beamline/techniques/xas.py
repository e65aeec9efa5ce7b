"""X-ray absorption spectra, of any number of channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beamline.formats.channel_fields import channel_fields
from beamline.formats.exporters.columns import Table
from beamline.formats.exporters.nexus import Axis, Plot
from beamline.formats.exporters.nxxas import write_nxxas
from beamline.formats.exporters.xdi import write_xdi
from beamline.storage.results import Documents, Run
from beamline.techniques.technique import NOT_KNOWN, Summary, Technique, columns_exporter, nexus_exporter
from beamline.text import with_sigma
from callbacks.contract import XasResult
from callbacks.pipelines import XAS as PIPELINE
from callbacks.xas import channels_of

FloatArray = NDArray[np.floating]

if TYPE_CHECKING:
    from beamline.report.figures import Drawn, Member


def summarise(derived: Run) -> dict[str, Any]:
    """Say of each channel whether it could be normalised, and its edge jump; of the energies what they rest on."""
    result = derived.read(XasResult)
    summary: dict[str, Any] = _dichroism(result) | {
        "spectra": {
            name: {"status": spectrum.status or NOT_KNOWN, "edge_jump": spectrum.edge_jump}
            for name, spectrum in result.spectra.items()
        }
    }
    if result.energy_calibration:
        summary["energy_calibration"] = result.energy_calibration
    if result.lag_status:
        summary["lag"] = {
            "value": result.lag,
            "sigma": result.lag_sigma,
            "status": result.lag_status,
            "channel": result.lag_channel,
        }
    return summary


def _dichroism(result: XasResult) -> dict[str, Any]:
    """Say where the difference of two polarisations is strongest, by channel; nothing where there is but one."""
    if not result.polarisations.size:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, spectrum in result.spectra.items():
        found[name] = {"status": spectrum.dichroism_status or NOT_KNOWN}
        known = np.flatnonzero(np.isfinite(spectrum.dichroism) & (spectrum.dichroism_sigma > 0))
        if known.size:
            strongest = known[np.argmax(np.abs(spectrum.dichroism / spectrum.dichroism_sigma)[known])]
            found[name] |= {
                "energy": float(result.xas_energy[strongest]),
                "difference": float(spectrum.dichroism[strongest]),
                "sigma": float(spectrum.dichroism_sigma[strongest]),
                "per_degree": float(spectrum.dichroism_per_degree[strongest]),
                "per_degree_sigma": float(spectrum.dichroism_per_degree_sigma[strongest]),
            }
    return {"dichroism": {"polarisations": [str(each) for each in result.polarisations], "channels": found}}


def lines(summary: Summary) -> Iterator[tuple[str, str]]:
    """Describe each channel."""
    for name, spectrum in summary["spectra"].items():
        yield name.upper(), spectrum["status"]
    if two := summary.get("dichroism"):
        first, second = two["polarisations"]
        for name, each in two["channels"].items():
            if each["status"] == "ok":  # else the channel's own line says why
                size = with_sigma(each["difference"], each["sigma"])
                yield (
                    f"{first} less {second}, {name.upper()}",
                    f"{size} of the edge jump at {each['energy']:.2f} eV, where it is clearest",
                )
    if said := summary.get("energy_calibration"):
        yield "energy scale", f"added to the energies: {said}"
    if lag := summary.get("lag"):
        found = (
            f" ± {1e3 * lag['sigma']:.2f} ms, found in {lag['channel']}" if lag["status"] == "ok" else " ms, configured"
        )
        yield "lag", f"{1e3 * lag['value']:.2f}{found}" if lag["status"] in ("ok", "configured") else "none, taken as 0"


def warnings(summary: Summary) -> Iterator[str]:
    """Warn of energies that may be off; a channel that could not be normalised has its line."""
    if " days " in (said := summary.get("energy_calibration", "")):
        yield f"the energy scale is calibrated by what is {said}"
    lag = summary.get("lag")
    if lag and lag["status"] not in ("ok", "configured"):
        yield f"how late energies are read back in flight is not known, and taken as 0: {lag['status']}"


def figures(raw: Run, derived: Run, _documents: Documents, title: str) -> Iterable[Drawn]:
    """Draw the figures of a spectrum."""
    from beamline.report.xas import spectrum_figures  # noqa: PLC0415 - matplotlib takes time to import

    return spectrum_figures(raw, derived, title)


def series_figures(members: Sequence[Member], axis: str) -> Iterable[Drawn]:
    """Draw the spectra of a series."""
    from beamline.report.xas import series_figures as drawn  # noqa: PLC0415 - as above

    return drawn(members, axis)


def tables(derived: Run) -> Iterator[Table]:
    """Give the spectra as one table, with what they are made of: the channels over I0, and I0."""
    result = derived.read(XasResult)
    if not result.xas_energy.size:
        return
    spectra = [
        ("energy_eV", result.xas_energy),
        *(
            column
            for name, spectrum in result.spectra.items()
            for column in ((name, spectrum.normalised), (f"{name}_sigma", spectrum.sigma))
        ),
        *(
            column
            for name, spectrum in result.spectra.items()
            for column in (
                (f"{name}_over_i0", spectrum.over_i0_spectrum),
                (f"{name}_over_i0_sigma", spectrum.over_i0_spectrum_sigma),
            )
        ),
        *_of_two(result),
        ("i0_counts", result.i0_counts),
    ]
    yield Table(
        "xas",
        [column for column in spectra if len(column[1]) == len(result.xas_energy)],
        tuple(channel_fields(channels_of(derived.measurement))),
    )


def _of_two(result: XasResult) -> Iterator[tuple[str, FloatArray]]:
    """Give the columns of a spectrum of two polarisations."""
    for name, spectrum in result.spectra.items():
        for number, polarisation in enumerate(result.polarisations):
            if len(spectrum.polarised) == result.polarisations.size:
                yield f"{name}_over_i0_{polarisation}", spectrum.polarised[number]
                yield f"{name}_over_i0_{polarisation}_sigma", spectrum.polarised_sigma[number]
        yield f"{name}_dichroism", spectrum.dichroism
        yield f"{name}_dichroism_sigma", spectrum.dichroism_sigma
        yield f"{name}_dichroism_per_degree", spectrum.dichroism_per_degree
        yield f"{name}_dichroism_per_degree_sigma", spectrum.dichroism_per_degree_sigma


def plots(derived: Run) -> Iterator[Plot]:
    """Give the normalised spectra."""
    result = derived.read(XasResult)
    if not result.xas_energy.size:
        return
    energy = Axis("energy", result.xas_energy, "eV", "excitation energy")
    for name, spectrum in result.spectra.items():
        yield Plot(name, name, spectrum.normalised, spectrum.sigma, "", (energy,))
    for name, spectrum in result.spectra.items() if result.polarisations.size else ():
        title = f"{name}_dichroism"
        yield Plot(title, title, spectrum.dichroism, spectrum.dichroism_sigma, "", (energy,))


def write_nxxas_file(path: Path, documents: Documents, _raw: Run, derived: Run | None) -> list[Path]:
    """Write one NXxas file, for programs that know the definition."""
    write_nxxas(path, documents, derived)
    return [path]


def write_xdi_file(path: Path, documents: Documents, _raw: Run, derived: Run | None) -> list[Path]:
    """Write one XDI file, for programs of absorption spectra."""
    write_xdi(path, documents, derived)
    return [path]


XAS = Technique(
    name="xas",
    title="XAS",
    counted="points",
    pipeline=PIPELINE,
    summarise=summarise,
    lines=lines,
    warnings=warnings,
    figures=figures,
    series_figures=series_figures,
    exporters={
        "nexus": nexus_exporter(plots),
        "columns": columns_exporter(tables),
        "nxxas": write_nxxas_file,
        "xdi": write_xdi_file,
    },
)
