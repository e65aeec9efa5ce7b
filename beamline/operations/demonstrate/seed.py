"""The figures of the supplement of Gent et al. (2017) from simulated samples: states of charge along the plateau."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from beamline.acquire.references import find_reference
from beamline.acquire.session import Session, measure, measure_all
from beamline.operations.analyse import Pooled, pool_runs
from beamline.operations.demonstrate.techniques import simulated, true_reduced_area, truth_of, wait_until_reduced
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.runs import data_folder
from beamline.processes.followers import ingest_now
from beamline.report.figures import Drawn
from beamline.report.page import PageContents, write_page
from beamline.report.stxm import pooled_figures, spectra
from beamline.storage.catalogue.condition import check_catalogue
from beamline.storage.layout import Layout
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from callbacks.contract import PooledResult, StxmResult
from callbacks.pipelines import StxmSettings
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.edges import EDGES
from callbacks.stxm.unmixing.analysis import average_spectrum
from plans import stack_series, stxm_line_spectrum
from plans.endstation import Truth

REFERENCE = "LRNMC pristine"  # of the energy scale
POWDER = "LRNMC powder reference"  # the reduced phase, pure
POWDER_LINE, POWDER_DWELL = "x=-1.8:1.77:0.03 y=0", 0.1
CAPACITIES = (131, 179, 230, 257, 280, 311)  # mAh/g, along the plateau
SERIES_OF_SAMPLES = (CAPACITIES[:3], CAPACITIES[3:])  # measured on two occasions
OFFSETS = (0.18, 0.05)  # eV that the monochromator is off on each
FIELD, DWELL = "x=-1.6:2.87:0.03 y=-1.23:1.23:0.03", 0.004  # 150 x 83 pixels: 74,700 in six samples; s
OXYGEN = "520:526:0.5, 526:535.5:0.25"  # 51 energies, of which all runs share 50
METALS = {
    "Mn L3": "630:637:1, 637.5:647.5:0.5, 648:650:1",
    "Co L3": "768:775:1, 775.5:784.5:0.5, 785:787:1",
    "Ni L3": "842:849:1, 849.5:857.5:0.5, 858:860:1",
}
METAL_SAMPLES = (131, 230, 311)  # mAh/g
METAL_FIELD = "x=-1.8:1.6:0.04 y=-0.6:0.6:0.04"
METAL_JUMP = 0.03  # optical density: there is little cobalt and nickel
NUMBER_OF_END_MEMBERS = {"O K": 3, "Mn L3": 3, "Co L3": 2, "Ni L3": 2}
NOISE_SHARE = 0.10  # of the pixels, as in Gent et al. (2017)
CORES = 70.0  # percentile of the brightness above which a pixel counts as the core of a particle

# Heading of a figure -> the figure of the supplement that it corresponds to.
OXYGEN_FIGURES = {
    "Noise of the pixels": "15a",
    "Principal components": "15b, c",
    "PCA and NMF space": "16, top",
    "End members": "16, bottom",
    "Chemical maps": "7",
    "Residual maps": "17a",
    "Residual against brightness": "17b",
    "Total fractions": "8",
    "Average spectra": "12, bottom",
}
METAL_FIGURES = {
    "Principal components": "18, top",
    "PCA and NMF space": "18, middle",
    "End members": "18, bottom",
    "Total fractions": "4a",
    "Chemical maps": "4c",
}


def run_seed_demo(*, seed: int, data_dir: Path | None, progress: Progress = no_progress) -> dict[str, Any]:
    """Measure and analyse the samples of the supplement.

    Parameters
    ----------
    seed : int
        Of the simulation.
    data_dir : Path or None
        Where the runs are kept; the configuration's folder where not given.
    progress : callable
        See `beamline.operations.progress`.

    Returns
    -------
    dict
        For JSON: `report`, pixels, variance, fractions against capacity with the simulated truth, seconds.
    """
    began = time.monotonic()
    config = simulated(seed)
    data_dir = data_folder(data_dir, config)
    check_catalogue(data_dir)
    with Session(config, data_dir) as session:
        session.watch(EventCounter(progress), "progress")
        truth = truth_of(session)
        oxygen, metals = measure_oxygen(session, truth), _measure_metals(session)
        wait_until_reduced(session)
    found, expected = pool_oxygen(oxygen, truth, data_dir)
    _, *oxygen = oxygen
    uid, status, pooled = found.uid, found.status, found.result
    outcome = {"derived_uid": uid, "status": status} | _summary(pooled, expected)
    report = Layout(data_dir).reports / "seed.html"
    write_page(
        report,
        PageContents(
            title="Oxygen redox along the charge plateau: simulated samples",
            subtitle=f"{len(oxygen)} stacks at the O K edge, {sum(map(len, metals.values()))} at the metals' L3 edges",
            verdict=f"{outcome['pixels']} pixels at {outcome['energies']} energies pooled;"
            f" {outcome['pixels_with_sample']} hold sample, {outcome['pixels_used']} are below the noise cut;"
            f" three components explain {outcome['cumulative_variance'][2]:.0%} of the variance.",
            warnings=[*([] if status == "ok" else [status]), *pooled.why_left_out.values()],
            drawn=list(_figures(data_dir, pooled, metals)),
            provenance=[("runs", ", ".join([*oxygen, *itertools.chain(*metals.values())])), ("seed", str(seed))],
        ),
    )
    return outcome | {
        "report": str(report),
        "seconds": time.monotonic() - began,
        "not_in_catalogue": ingest_now(data_dir, uid, *oxygen),
    }


def measure_oxygen(session: Session, truth: Truth) -> list[str]:
    """Measure the samples at the O K edge in two series, each with a reference and an energy scale of its own.

    The first uid is that of the line spectrum of the powder, the reduced phase, on the scale of the first series.
    """
    truth.energy_offset = OFFSETS[0]
    uids = [
        measure(
            session,
            stxm_line_spectrum(session.endstation, OXYGEN, POWDER_LINE, POWDER_DWELL, sample=POWDER, edge="O K"),
        )
    ]
    for capacities, offset in zip(SERIES_OF_SAMPLES, OFFSETS, strict=True):
        truth.energy_offset = offset
        samples = ", ".join(f"LRNMC {capacity} mAh/g" for capacity in capacities)
        plan = stack_series(session.endstation, samples, f"O K={OXYGEN}", FIELD, DWELL, reference=REFERENCE)
        uids += measure_all(session, plan)[1:]
    return uids


def pool_oxygen(uids: list[str], truth: Truth, data_dir: Path) -> tuple[Pooled, dict[int, float]]:
    """Analyse the samples at the O K edge together; give also what is true of each, by its capacity, mAh/g.

    Parameters
    ----------
    uids : list of str
        As `measure_oxygen` gives them: the powder, whose spectrum is held as the reduced end member, then the samples.
    truth : Truth
    data_dir : Path

    Returns
    -------
    (Pooled, dict of int to float)
        The derived run, and the shares of the reduced phase in the edge area of both; only of runs that are in it.
    """
    powder, *oxygen = uids
    runs = Runs(data_dir)
    offsets = itertools.chain.from_iterable(
        [offset] * len(one) for offset, one in zip(OFFSETS, SERIES_OF_SAMPLES, strict=True)
    )
    settings = _settings("O K", {"reduced": find_reference(powder, data_dir, data_dir)})
    pooled = pool_runs(oxygen, settings, data_dir)
    expected = {
        capacity: true_reduced_area(*_with_reduction(runs, uid), truth, EDGES["O K"], offset)
        for capacity, uid, offset in zip(CAPACITIES, oxygen, offsets, strict=True)
        if uid in pooled.result.runs  # a beam dump may have left too few images
    }
    return pooled, expected


def _measure_metals(session: Session) -> dict[str, list[str]]:
    """Measure three of the samples at the L3 edges of the metals; give the uids by edge."""
    session.use_settings({"stxm": {"absorbance": {"lowest_jump": METAL_JUMP}}})
    edges = "; ".join(f"{edge}={energies}" for edge, energies in METALS.items())
    samples = ", ".join(f"LRNMC {capacity} mAh/g" for capacity in METAL_SAMPLES)
    uids = measure_all(session, stack_series(session.endstation, samples, edges, METAL_FIELD, DWELL))
    return {edge: list(uids[place :: len(METALS)]) for place, edge in enumerate(METALS)}


def _summary(pooled: PooledResult, expected: dict[int, float]) -> dict[str, Any]:
    shares = pooled.pca_eigenvalues / pooled.pca_eigenvalues.sum()
    return {
        "pixels": int(np.sum(pooled.run_pixels)),
        "pixels_with_sample": int(np.isfinite(pooled.pixel_noise).sum()),
        "pixels_used": int(pooled.pixels_used),
        "energies": len(pooled.pca_energy),
        "cumulative_variance": np.cumsum(shares)[:5].tolist(),
        "energy_offsets_ev": pooled.energy_offset.tolist(),
        "energy_offsets_sigma_ev": pooled.energy_offset_sigma.tolist(),
        "reduced": {
            str(capacity): {"found": float(found), "sigma": float(sigma), "truth": true}
            for (capacity, true), found, sigma in zip(
                expected.items(), pooled.total_reduced, pooled.total_reduced_sigma, strict=True
            )
        },
    }


def _figures(data_dir: Path, pooled: PooledResult, metals: dict[str, list[str]]) -> Iterable[Drawn]:
    """Draw the figures of all edges; the stacks of each metal are analysed together first."""
    yield from _numbered(pooled_figures(pooled), OXYGEN_FIGURES, "O K")
    results = {"O K": pooled}
    for edge, uids in metals.items():
        results[edge] = pool_runs(uids, _settings(edge), data_dir).result
        yield from _numbered(pooled_figures(results[edge]), METAL_FIGURES, edge)
    pairs = {edge: (str(result.runs[0]), str(result.runs[-1])) for edge, result in results.items()}
    yield from _cores(Runs(data_dir), pairs, {pairs["O K"][1]: float(pooled.energy_offset[-1])})


def _settings(edge: str, references: dict[str, Any] | None = None) -> StxmSettings:
    return StxmSettings.model_validate(
        {
            "analysis": {"noise_share": NOISE_SHARE, "end_members": {"number": NUMBER_OF_END_MEMBERS[edge]}},
            "chemistry": {"references": references or {}},
        }
    )


def _with_reduction(runs: Runs, uid: str) -> tuple[Run, Run]:
    """Load a run with what was derived from it."""
    raw, derived = runs.load_with_derived(uid)
    assert derived is not None
    return raw, derived


def _numbered(drawn: Iterable[Drawn], numbers: dict[str, str], edge: str) -> Iterable[Drawn]:
    """Name each figure by the figure of the supplement that it corresponds to; leave out those without one."""
    for heading, caption, figure in drawn:
        if heading in numbers:
            yield f"{edge}: {heading} (as Supplementary Figure {numbers[heading]})", caption, figure


def _cores(runs: Runs, pairs: dict[str, tuple[str, str]], offsets: dict[str, float]) -> Iterable[Drawn]:
    """Draw the spectra of the cores of particles before and after the plateau, with their difference."""
    for edge, uids in pairs.items():
        curves: list[tuple[str, np.ndarray, np.ndarray]] = []
        energies = np.zeros(0)
        for uid in uids:
            raw, derived = _with_reduction(runs, uid)
            own, spectrum, sigma = _core_spectrum(derived, edge)
            own = own + offsets.get(uid, 0.0)
            energies = energies if len(energies) else own
            on_one_scale = [np.interp(energies, own, each, left=np.nan, right=np.nan) for each in (spectrum, sigma)]
            curves.append((raw.measurement.sample, *on_one_scale))
        yield (
            f"{edge}: spectra of the cores (as Supplementary Figure 5)",
            "Mean spectra of the thick parts of the particles, before and after the plateau; below, the difference.",
            spectra(
                energies, curves, label="optical density over area (1/eV)", title=f"{edge}, cores", difference=True
            ),
        )


def _core_spectrum(derived: Run, edge: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    result = derived.read(StxmResult)
    used = np.array([status == "ok" for status in result.image_status])
    good = result.mask == GOOD
    core = good & (result.edge_jump > np.percentile(result.edge_jump[good], CORES))
    energies = np.asarray(result.stack_energy)[used]
    average = average_spectrum(
        energies,
        result.optical_density[used][:, core],
        result.optical_density_sigma[used][:, core] ** 2,
        background=EDGES[edge].background,
        area=EDGES[edge].area,
    )
    return energies, average.spectrum, average.sigma
