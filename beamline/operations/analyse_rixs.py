"""Pooled analysis of RIXS maps: one calibration by the lines of all, the maps on one axis, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.special import chdtrc

from beamline.errors import BeamlineError
from beamline.operations.problems import problems_of
from beamline.operations.runs import interruptions, shown_name
from beamline.report.page import PageContents
from beamline.report.rixs_pooled import pooled_figures
from beamline.storage.derived import DerivedRuns
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from beamline.techniques.technique import NOT_KNOWN, not_reduced
from beamline.text import shortened
from callbacks.contract import RIXS_POOLED, Result, RixsOutput, RixsPooledResult, RixsResult
from callbacks.pipelines import RixsSettings
from callbacks.reduction import derived_run
from callbacks.rixs.pooling import MapLines, OneAxis, Pooled, on_one_axis, pool_calibrations
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class PooledMaps:
    """A pooled analysis of maps that is kept.

    Attributes
    ----------
    uid : str
        Of the derived run.
    result : RixsPooledResult
    runs : list of Run
        Those that were pooled.
    problems : list of list of str
        What each of them leaves out; see `problems_of`.
    """

    uid: str
    result: RixsPooledResult
    runs: list[Run]
    problems: list[list[str]]


def pool_maps(names: list[str], settings: RixsSettings, data_dir: Path) -> PooledMaps:
    """Analyse maps together and keep the outcome as a derived run.

    Raises
    ------
    BeamlineError
        For a run that is not reduced, or of another setting of the spectrograph than the others, and where fewer than
        two have a calibration.
    """
    runs = Runs(data_dir)
    pairs: list[tuple[Run, Run]] = []
    for name in names:
        raw, derived = runs.load_with_derived(name)
        if derived is None:
            raise not_reduced(raw)
        pairs.append((raw, derived))
    raws, found = pool_reduced(pairs, settings)
    uid = keep_pooled(raws, RIXS_POOLED, settings, found, data_dir)
    return PooledMaps(uid, found, raws, [problems_of(raw, interruptions(raw)) for raw in raws])


def pool_reduced(pairs: Sequence[tuple[Run, Run]], settings: RixsSettings) -> tuple[list[Run], RixsPooledResult]:
    """Bring maps that are reduced, each with its derived run, to one calibration and axis; give those that are used.

    Raises
    ------
    BeamlineError
        As of `pool_maps`.
    """
    used: list[tuple[Run, Run, RixsResult]] = []
    left_out: list[tuple[Run, str]] = []
    for raw, derived in pairs:
        result = derived.read(RixsResult)
        if result.calibration_status == "ok":
            used.append((raw, derived, result))
        else:
            left_out.append((raw, result.calibration_status or NOT_KNOWN))
    if len(used) < 2:
        why = "; ".join(f"{shown_name(raw)}: {reason}" for raw, reason in left_out)
        raise BeamlineError(f"calibrated maps: {len(used)} of {len(pairs)}, expected 2 or more{why and f'; {why}'}")
    _one_camera(used)
    results = [result for _, _, result in used]
    try:
        maps = [MapLines.of(shown_name(raw), result) for raw, _, result in used]
        first = maps[0].calibration
        bend = settings.elastic_line.bend_at(float(first.coefficients[0]), first.dispersion)
        pooled = pool_calibrations(maps, bend=bend)
    except ValueError as error:
        raise BeamlineError(str(error)) from error
    axis = on_one_axis(results, pooled)
    return [raw for raw, _, _ in used], _result(used, left_out, pooled, axis)


def keep_pooled(raws: Iterable[Run], pipeline: str, settings: BaseModel, result: Result, data_dir: Path) -> str:
    """Keep the analysis of several runs as a derived run of all of them; give its uid."""
    raws, uid = list(raws), ""
    with closing(DerivedRuns(data_dir)) as store:
        metadata = {"sample": {"name": ", ".join(raw.measurement.sample for raw in raws)}}
        raw_uids = [raw.uid for raw in raws]
        for name, doc in derived_run(raw_uids, pipeline, settings.model_dump(mode="json"), result, metadata):
            store(name, doc)
            uid = doc["uid"] if name == "start" else uid
    return uid


def _one_camera(used: list[tuple[Run, Run, RixsResult]]) -> None:
    """Raise where the frames of a map have other columns than those of the first one."""
    first, columns = used[0][0], used[0][2].map.shape[1]
    for raw, _, result in used[1:]:
        if result.map.shape[1] != columns:
            raise BeamlineError(
                f"{shown_name(raw)}: is of another setting of the spectrograph than {shown_name(first)}: its frames"
                f" have {result.map.shape[1]} columns, expected {columns}"
            )


def _result(
    used: list[tuple[Run, Run, RixsResult]], left_out: list[tuple[Run, str]], pooled: Pooled, axis: OneAxis
) -> RixsPooledResult:
    calibration, results = pooled.calibration, [result for _, _, result in used]
    columns = np.arange(axis.intensity.shape[2])
    ratio, ratio_sigma = relative_intensity(axis.intensity, axis.variance)
    names = {
        str(name): (energy, sigma)
        for result in results
        for name, energy, sigma in zip(result.known_names, result.known_energy, result.known_energy_sigma, strict=True)
    }
    undone = [_undone(derived, result) for _, derived, result in used]
    return RixsPooledResult(
        calibration_status=calibration.status,
        calibration_alarm=pooled.alarm,
        calibration_parameters=calibration.coefficients,
        calibration_covariance=calibration.covariance,
        calibration_pivot=calibration.pivot,
        calibration_dispersion_ev_per_pixel=calibration.dispersion,
        calibration_dispersion_sigma=calibration.dispersion_sigma,
        calibration_rms_ev=calibration.rms,
        calibration_accepted=int(calibration.accepted.sum()),
        calibration_rejected=int((~calibration.accepted).sum()),
        known_names=np.array(list(names), dtype=str),
        known_energy=np.array([energy for energy, _ in names.values()]),
        known_energy_sigma=np.array([sigma for _, sigma in names.values()]),
        elastic_energy=np.concatenate([result.elastic_energy for result in results]),
        elastic_pixel=np.concatenate(pooled.pixels),
        elastic_fit_sigma=np.concatenate([result.elastic_fit_sigma for result in results]),
        elastic_accepted=calibration.accepted,
        elastic_run=np.repeat(np.arange(len(used)), [len(result.elastic_energy) for result in results]),
        runs=np.array([raw.uid for raw, _, _ in used]),
        samples=np.array([raw.measurement.sample for raw, _, _ in used]),
        left_out=np.array([raw.uid for raw, _ in left_out], dtype=str),
        left_out_reasons=np.array([reason for _, reason in left_out], dtype=str),
        chi_square=pooled.chi_square,
        chi_square_freedom=pooled.freedom,
        lines_chi_square=pooled.lines_chi_square,
        lines_freedom=pooled.lines_freedom,
        run_dispersion=pooled.dispersions,
        run_dispersion_sigma=pooled.dispersion_sigmas,
        run_pull=pooled.pulls,
        run_offset=pooled.offsets,
        run_offset_sigma=pooled.offset_sigmas,
        run_drift=np.array(undone) + pooled.drifts,
        run_drift_sigma=pooled.drift_sigmas,
        run_intensity=ratio,
        run_intensity_sigma=ratio_sigma,
        excitation_energy=axis.excitation,
        emission_energy=calibration.energy(columns),
        emission_energy_sigma=calibration.sigma(columns),
        maps=axis.intensity,
        maps_variance=axis.variance,
        difference=axis.difference,
        difference_variance=axis.difference_variance,
        difference_by_offset=axis.difference_by_offset,
    )


def _undone(derived: Run, result: RixsResult) -> float:
    """Give the drift, columns, that was undone in the last row of a map: the mean of its frames'."""
    rows = np.asarray(derived.frames[RixsOutput.ROW])
    rows = rows[rows >= 0]  # frames that failed are in no row
    if len(rows) != len(result.drift_frame_pixels):  # a later step failed on one
        return float("nan")
    return float(np.mean(result.drift_frame_pixels[rows == rows.max()]))


def relative_intensity(maps: FloatArray, variances: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the intensity of each map over that of the first, of what was measured in both, and its sigma by noise."""
    values, sigmas = [], []
    for intensity, variance in zip(maps, variances, strict=True):
        both = np.isfinite(intensity) & np.isfinite(maps[0])
        own, first = (float(one[both].sum()) for one in (intensity, maps[0]))
        noise = [float(one[both].sum()) for one in (variance, variances[0])]
        known = both.any() and own > 0 and first > 0
        values.append(own / first if known else np.nan)
        sigmas.append(own / first * np.sqrt(noise[0] / own**2 + noise[1] / first**2) if known else np.nan)
    return np.array(values), np.array([0.0, *sigmas[1:]])


def contents_of(pooled: PooledMaps, settings: RixsSettings) -> PageContents:
    """Give what the report of maps that were pooled holds."""
    result = pooled.result
    names = [shown_name(raw) for raw in pooled.runs]
    return PageContents(
        title=f"{len(names)} RIXS maps, pooled: {', '.join(map(shortened, names))}",
        subtitle=f"derived run {pooled.uid}",
        verdict=f"{calibration_line(summary_of(pooled))}.",
        warnings=[
            *([result.calibration_alarm] if result.calibration_alarm else []),
            *(
                f"run {uid[:8]} is left out: {reason}"
                for uid, reason in zip(result.left_out, result.left_out_reasons, strict=True)
            ),
            *(
                f"{name}: {problem}"
                for name, problems in zip(names, pooled.problems, strict=True)
                for problem in problems
            ),
        ],
        drawn=pooled_figures(result, names),
        provenance=[("runs", ", ".join(map(str, result.runs))), ("settings", settings.model_dump_json())],
    )


def calibration_line(summary: Mapping[str, Any]) -> str:
    """Say in a line what the maps tell together."""
    return (
        f"{summary['dispersion_ev_per_pixel']:.5f} ± {summary['dispersion_sigma']:.5f} eV/pixel at"
        f" {summary['at_ev']:.2f} eV by {number_of(summary['lines']['used'], 'elastic line')} of"
        f" {len(summary['runs'])} maps;"
        f" chi square of their dispersions {summary['chi_square']:.2f} for {summary['degrees_of_freedom']}"
        f" (p = {summary['p_value']:.2g})"
    )


def summary_of(pooled: PooledMaps) -> dict[str, Any]:
    """Summarise maps that were pooled, for JSON."""
    result = pooled.result
    chi_square, freedom = result.chi_square, int(result.chi_square_freedom)
    of_run = {
        "dispersion_ev_per_pixel": result.run_dispersion,
        "dispersion_sigma": result.run_dispersion_sigma,
        "pull": result.run_pull,
        "offset_pixels": result.run_offset,
        "offset_sigma": result.run_offset_sigma,
        "drift_pixels": result.run_drift,
        "drift_sigma": result.run_drift_sigma,
        "intensity_over_first": result.run_intensity,
        "intensity_over_first_sigma": result.run_intensity_sigma,
    }
    return {
        "technique": "rixs",
        "derived_uid": pooled.uid,
        "status": result.calibration_status,
        "alarm": result.calibration_alarm,
        "at_ev": float(result.calibration_parameters[0]),
        "dispersion_ev_per_pixel": result.calibration_dispersion_ev_per_pixel,
        "dispersion_sigma": result.calibration_dispersion_sigma,
        "bend_per_pixel": float(result.calibration_parameters[2]),
        "bend_sigma": float(np.sqrt(result.calibration_covariance[2, 2])),
        "chi_square": chi_square,
        "degrees_of_freedom": freedom,
        "p_value": float(chdtrc(freedom, chi_square)),
        "lines": {
            "used": int(result.calibration_accepted),
            "known": [str(name) for name in result.known_names],
            "chi_square": result.lines_chi_square,
            "degrees_of_freedom": int(result.lines_freedom),
            "rms_ev": result.calibration_rms_ev,
        },
        "rows": len(result.excitation_energy),
        "rows_in_all": int(np.isfinite(result.maps).any(axis=2).all(axis=0).sum()),
        "runs": [
            {
                "run": raw.uid,
                "scan_id": raw.start.get("scan_id"),
                "sample": raw.measurement.sample,
                "problems": pooled.problems[place],
                "lines_used": int(result.elastic_accepted[result.elastic_run == place].sum()),
                **{name: float(values[place]) for name, values in of_run.items()},
            }
            for place, raw in enumerate(pooled.runs)
        ],
        "left_out": [
            {"run": str(uid), "reason": str(reason)}
            for uid, reason in zip(result.left_out, result.left_out_reasons, strict=True)
        ],
    }
