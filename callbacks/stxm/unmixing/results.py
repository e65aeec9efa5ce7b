"""What an analysis found, as a derived run keeps it: pixels as images again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import AnalysisResult, Result, StackResult
from callbacks.fitting.nonnegative import Unmixed
from callbacks.stxm.unmixing.analysis import Analysis
from callbacks.stxm.unmixing.fractions import share

FloatArray = NDArray[np.floating]
R = TypeVar("R", bound=Result)


def analysis_result(found: Analysis, shape: tuple[int, ...]) -> AnalysisResult:
    """Give what an analysis found, without what it did not find: end members, fractions, NMF.

    Parameters
    ----------
    found : Analysis
    shape : tuple of int
        Lines and columns that its pixels make.
    """
    components, phases = found.components, found.phases
    result = AnalysisResult(
        pca_status=components.status,
        pca_energy=found.energies,
        pca_mean=components.mean,
        pca_components=components.components,
        pca_eigenvalues=components.eigenvalues,
        pca_significant=components.significant,
        pca_scree=components.whitened.significance.before_gap,
        pca_noise_eigenvalues=components.whitened.eigenvalues,
        pca_noise_edge=components.whitened.significance.edge,
        pca_scores=found.scores.T.reshape(-1, *shape),
        pixels_used=components.n_kept,
        pca_kept=found.kept.astype(int).reshape(shape),
        pixel_noise=found.pixel_noise.reshape(shape),
        noise_cut=found.noise_cut,
        brightness=found.brightness.reshape(shape),
        chemical_status=found.status,
        reference_note="; ".join(found.left_out),
    )
    if phases.status != "ok":
        return result
    members = phases.end_members
    found_too = AnalysisResult(
        end_member_energy=found.energies,
        end_members=members.spectra,
        end_members_sigma=members.sigma,
        end_member_note=members.note,
        cluster_names=np.array(members.names, dtype=str),
        cluster_purity=members.purity,
        clusters=_cluster_numbers(members.clusters, int(np.prod(shape))).reshape(shape),
    )
    maps = maps_result(members.names, phases.unmixed, (phases.reduced, phases.reduced_sigma), shape)
    result = both(both(result, maps), found_too)
    if phases.nmf.status != "ok":
        return result
    return both(
        result,
        AnalysisResult(
            nmf_components=phases.nmf.components,
            nmf_weights=phases.nmf.weights.T.reshape(-1, *shape),
            nmf_converged=phases.nmf.converged,
        ),
    )


def maps_result(
    names: list[str], unmixed: Unmixed, reduced: tuple[FloatArray, FloatArray], shape: tuple[int, ...]
) -> AnalysisResult:
    """Give the fractions of pixels as images, and the reduced fraction with its standard uncertainty."""
    return AnalysisResult(
        end_member_names=np.array(names, dtype=str),
        fractions=unmixed.fractions.T.reshape(-1, *shape),
        fractions_sigma=unmixed.sigma.T.reshape(-1, *shape),
        residual=unmixed.residual.reshape(shape),
        reduced_fraction=reduced[0].reshape(shape),
        reduced_fraction_sigma=reduced[1].reshape(shape),
    )


def totals_result(totals: Sequence[Unmixed]) -> dict[str, FloatArray]:
    """Give fractions in mean spectra, each fitted by itself, and the reduced fraction, with standard uncertainties."""
    reduced = [share(total, 0, (0, 1)) for total in totals]
    return {
        "total_fractions": np.array([total.fractions[0] for total in totals]),
        "total_fractions_sigma": np.array([total.sigma[0] for total in totals]),
        "total_reduced": np.array([float(value[0]) for value, _ in reduced]),
        "total_reduced_sigma": np.array([float(sigma[0]) for _, sigma in reduced]),
    }


def determined(result: StackResult) -> StackResult:
    """Give a result whose status says why, where the reduced fraction in its mean spectrum is not determined."""
    if result.chemical_status != "ok" or np.isfinite(result.total_reduced):
        return result
    sigma = result.total_reduced_sigma
    why = (
        f"its standard uncertainty is {sigma:.2g}, larger than the range from 0 to 1"
        if np.isfinite(sigma)
        else "the mean spectrum of the sample has neither of the two phases above noise"
    )
    return result.model_copy(update={"chemical_status": f"the reduced fraction is not determined: {why}"})


def both(first: R, second: Result) -> R:
    """Give a result with what another one knows besides."""
    return first.model_copy(update=second.as_dict())


def _cluster_numbers(clusters: list[NDArray[np.intp]], pixels: int) -> NDArray[np.intp]:
    """Give the number of the cluster, from 1, that each pixel is in; 0 for none."""
    numbers = np.zeros(pixels, dtype=int)
    for number, cluster in enumerate(clusters, start=1):
        numbers[cluster] = number
    return numbers
