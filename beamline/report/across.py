"""The figures of features that several techniques tell of the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from beamline.report.figures import Drawn
from beamline.report.rixs_pooled import draw_map
from beamline.report.stxm.curves import SERIES
from beamline.report.stxm.maps import chemical_maps
from beamline.report.stxm.pooled import SAID_OF_MAPS, coloured_maps
from beamline.storage.results import Run
from beamline.text import shortened
from callbacks.contract import RIXS_POOLED, STXM_POOLED, AnalysedResult, PooledResult, RixsPooledResult

COLOURS = ("#1b6ca8", "#d1495b", "#5a9367", "#8a5fa8", "#c98a1b", "#3d3d3d")


def across_figures(result: AnalysedResult, names: Sequence[str], analyses: Mapping[str, Run]) -> Iterator[Drawn]:
    """Draw features against capacity, one against the other, and the maps and spectra that they are of.

    Parameters
    ----------
    result : AnalysedResult
        With quantities over the samples.
    names : sequence of str
        Of the features.
    analyses : mapping of str to Run
        What each is out of; none of one that was given.
    """
    yield (
        "Features along the cycle",
        "With 68 % intervals; samples in the order of their capacity.",
        along_the_cycle(result, names),
    )
    for place, name in enumerate(names[1:], 1):
        for other in names[:place]:
            yield f"{name} against {other}", "Of the same samples, with 68 % intervals.", against(result, other, name)
    yield from _stacks(result, {name: analyses[name] for name in names if name in analyses})
    if drawn := _maps_and_spectra(result, analyses):
        yield (
            "Maps and spectra",
            "Above: RIXS maps on one colour scale. Below: absorption of the same samples.",
            drawn,
        )


def _stacks(result: AnalysedResult, analyses: Mapping[str, Run]) -> Iterator[Drawn]:
    """Draw end members, and maps of all samples, of the stacks that were pooled."""
    pooled: dict[str, PooledResult] = {}
    for name, run in analyses.items():
        assert run.derivation is not None
        if run.derivation.pipeline == STXM_POOLED and (own := run.read(PooledResult)).reduced_fraction.size:
            pooled[name] = own
    if not pooled:
        return
    samples = [str(sample) for sample in result.quantities["sample"].values]
    yield "End members", "Of each feature's stacks, with 68 % bands.", _end_members(pooled)
    panels, regions = [], []
    for name, own in pooled.items():
        maps = {sample: (colours, region) for sample, colours, region in coloured_maps(own)}
        for sample in samples:
            if sample in maps:
                panels.append((f"{_words(name)}: {shortened(sample)}", maps[sample][0]))
                regions.append(maps[sample][1])
    yield "Maps", SAID_OF_MAPS, chemical_maps(panels, regions)


def _end_members(pooled: Mapping[str, PooledResult]) -> Figure:
    figure = Figure(figsize=(max(6.4, 4.2 * len(pooled)), 3.8), layout="constrained")
    for axes, (name, own) in zip(np.atleast_1d(figure.subplots(1, len(pooled))), pooled.items(), strict=True):
        members = zip(own.end_member_names, own.end_members, own.end_members_sigma, strict=True)
        for colour, (member, values, sigma) in zip(SERIES, members, strict=False):
            axes.fill_between(own.end_member_energy, values - sigma, values + sigma, color=colour, alpha=0.25, lw=0)
            axes.plot(own.end_member_energy, values, color=colour, lw=1.0, label=str(member))
        axes.set(xlabel="photon energy (eV)", title=_words(name))
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("optical density, area 1 (1/eV)")
    return figure


def along_the_cycle(result: AnalysedResult, names: Sequence[str]) -> Figure:
    """Draw each feature against the capacity or, where one is not known, the sample."""
    samples = [str(sample) for sample in result.quantities["sample"].values]
    capacity = result.quantities["capacity"].values
    by_capacity = bool(np.isfinite(capacity).all())
    at = capacity if by_capacity else np.arange(len(samples), dtype=float)
    figure = Figure(figsize=(7.0, 0.8 + 2.4 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for place, (axes, name) in enumerate(zip(panels, names, strict=True)):
        values, sigma = (result.quantities[f"feature_{name}{end}"].values for end in ("", "_sigma"))
        known, colour = np.isfinite(values), COLOURS[place % len(COLOURS)]
        axes.errorbar(
            at[known], values[known], yerr=sigma[known], fmt="o-" if by_capacity else "o", ms=5, lw=1.0, color=colour
        )
        axes.set_ylabel(_label(result, name))
        axes.grid(alpha=0.3)
    if by_capacity:
        panels[-1].set_xlabel("capacity (mAh/g)")
    else:
        panels[-1].set_xticks(at, [shortened(sample) for sample in samples], rotation=20, ha="right", fontsize=8)
    return figure


def against(result: AnalysedResult, other: str, name: str) -> Figure:
    """Draw one feature against another."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    columns = [result.quantities[f"feature_{each}{end}"].values for each in (other, name) for end in ("", "_sigma")]
    for number, (sample, x, x_sigma, y, y_sigma) in enumerate(
        zip(result.quantities["sample"].values, *columns, strict=True)
    ):
        if np.isfinite(x) and np.isfinite(y):
            colour, label = COLOURS[number % len(COLOURS)], shortened(sample)
            axes.errorbar(x, y, xerr=x_sigma, yerr=y_sigma, fmt="o", ms=5, color=colour, label=label)
    axes.set(xlabel=_label(result, other), ylabel=_label(result, name))
    axes.margins(0.15)
    if axes.has_data():
        figure.legend(loc="outside right upper", fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def _label(result: AnalysedResult, name: str) -> str:
    units = result.quantities[f"feature_{name}"].units
    return f"{_words(name)} ({units})" if units else _words(name)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _maps_and_spectra(result: AnalysedResult, analyses: Mapping[str, Run]) -> Figure | None:
    """Draw the RIXS maps of the samples, and below their absorption; None where either was not pooled."""
    pooled: dict[str, Run] = {}
    for run in analyses.values():
        assert run.derivation is not None
        pooled.setdefault(run.derivation.pipeline, run)
    if not {RIXS_POOLED, STXM_POOLED} <= pooled.keys():
        return None
    maps, stacks = pooled[RIXS_POOLED].read(RixsPooledResult), pooled[STXM_POOLED].read(PooledResult)
    both = [
        str(sample)
        for sample in result.quantities["sample"].values
        if sample in maps.samples and sample in stacks.samples
    ]
    if not both:
        return None
    figure = Figure(figsize=(3.0 * len(both) + 1.0, 6.4), layout="constrained")
    above, below = figure.subplots(2, len(both), squeeze=False, height_ratios=(3, 2), sharey="row")
    for place, sample in enumerate(both):
        of_map, of_stack = list(maps.samples).index(sample), list(stacks.samples).index(sample)
        shown = draw_map(above[place], maps, of_map)
        above[place].set(xlabel="emission energy (eV)", title=shortened(sample))
        energy, spectrum, sigma = (
            stacks.pca_energy,
            stacks.average_spectra[of_stack],
            stacks.average_spectra_sigma[of_stack],
        )
        below[place].fill_between(energy, spectrum - sigma, spectrum + sigma, color=COLOURS[1], alpha=0.25, lw=0)
        below[place].plot(energy, spectrum, color=COLOURS[1], lw=1.0)
        below[place].set_xlabel("photon energy (eV)")
        below[place].grid(alpha=0.3)
    above[0].set_ylabel("excitation energy (eV)")
    below[0].set_ylabel("absorption, area 1")
    figure.colorbar(shown, ax=list(above), label="counts per column and 10⁶ counts of I0", pad=0.01)
    return figure
