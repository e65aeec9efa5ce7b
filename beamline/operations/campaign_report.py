"""The report of a campaign: its spectra with their features, and a figure of each run behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from beamline.errors import BeamlineError
from beamline.operations.analyse_rixs import PooledMaps, pool_maps
from beamline.operations.campaign_proposal import Proposal, proposal_lines
from beamline.operations.outputs import new_page, printed
from beamline.operations.problems import problems_of
from beamline.operations.runs import interruptions, technique_of
from beamline.report.campaign import Spectrum, spectra_figure
from beamline.report.figures import Drawn
from beamline.report.page import PageContents, write_page
from beamline.report.rixs_pooled import pooled_figures
from beamline.report.style import FigureStyle
from beamline.storage.runs import Runs
from callbacks.contract import XasResult
from callbacks.pipelines import RIXS, XAS, RixsSettings

OF_EACH = 1  # figures of a run: its own report has all of them


def write_campaign(
    path: Path,
    runs: Runs,
    name: str,
    proposal: Proposal,
    uids: Sequence[str],
    *,
    figures: Path | None = None,
    style: FigureStyle | None = None,
) -> None:
    """Write the report of a campaign.

    Parameters
    ----------
    path : Path
        The HTML file.
    runs : Runs
    name : str
        Of the campaign.
    proposal : Proposal
        With what its spectra tell.
    uids : sequence of str
        Of all its runs.
    figures, style : Path, FigureStyle, optional
        A folder, for the figures in a style for print as well; see `beamline.report.style.write_figures`.
    """
    loaded = [runs.load_with_derived(uid) for uid in uids]
    problems = [
        f"run {raw.uid[:8]} ({raw.measurement.sample}): {problem}"
        for raw, _ in loaded
        for problem in problems_of(raw, interruptions(raw))
    ]
    maps = [raw.uid for raw, derived in loaded if derived and technique_of(raw).pipeline.name == RIXS.name]
    pooled, apart = _compared(runs, maps)
    scale = f"offset of the monochromator {proposal.offset:+.4f} ± {proposal.offset_sigma:.4f} eV; "
    if not math.isfinite(proposal.offset):
        scale = ""
    # Each time a campaign goes on, its report is written again.
    with (
        new_page(path, runs.data_dir, overwrite=True) as part,
        printed(figures, style, runs.data_dir, overwrite=True) as to_print,
    ):
        write_page(
            part,
            PageContents(
                title=f"campaign {name}",
                subtitle=f"{len(uids)} runs in {runs.data_dir}",
                verdict=f"{scale}{len(proposal.found)} spectra, {len(uids) - len(proposal.found)} runs behind them.",
                warnings=[],
                remarks=[*problems, *([apart] if apart else [])],
                drawn=_drawn(runs, proposal, uids, pooled),
                provenance=[*proposal_lines(proposal), ("runs", ", ".join(uids))],
            ),
            to_print,
        )


def _drawn(runs: Runs, proposal: Proposal, uids: Sequence[str], pooled: PooledMaps | None) -> Iterator[Drawn]:
    """Draw the spectra, a figure of each run behind them, and how maps that were pooled differ."""
    spectra = []
    for each in proposal.found:
        _, derived = runs.load_with_derived(each.run)
        assert derived is not None
        result = derived.read(XasResult)
        offset = result.energy_offset if math.isfinite(result.energy_offset) else 0.0
        spectra.append(Spectrum(each.sample, result.xas_energy - offset, result.spectra[each.channel], each.features))
    yield (
        "Spectra and their features",
        "Normalised, each above the one before; with 68 % bands. Lines: features, with their uncertainties, which are"
        " narrower than the lines where they are not seen. Energies as the monochromator says"
        + (
            f"; the photon energy is {proposal.offset:+.3f} ± {proposal.offset_sigma:.3f} eV more."
            if math.isfinite(proposal.offset)
            else "."
        ),
        spectra_figure(spectra, proposal.found[0].channel),
    )
    for uid in uids:
        raw, derived = runs.load_with_derived(uid)
        technique = technique_of(raw)
        if derived is None or technique.pipeline.name == XAS.name:
            continue
        title = f"{technique.title} of {raw.measurement.sample}"
        for heading, caption, figure in islice(
            technique.figures(raw, derived, runs.documents(runs.find(uid)), title), OF_EACH
        ):
            yield f"{title}: {heading.lower()}", caption, figure
    if pooled is not None:
        yield from pooled_figures(pooled.result, [run.measurement.sample for run in pooled.runs])


def _compared(runs: Runs, maps: Sequence[str]) -> tuple[PooledMaps | None, str]:
    """Pool maps, so that they can be compared on one axis; else say why they cannot be."""
    if len(maps) < 2:
        return None, ""
    try:
        return pool_maps(list(maps), RixsSettings(), runs.data_dir), ""
    except BeamlineError as error:
        return None, f"the maps are not compared: {error}"
