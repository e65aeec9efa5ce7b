"""End members: the clusters at the extremes of the cloud of pixels, their names, and the NMF begun at them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree

from callbacks.stxm.edges import Edge

FloatArray = NDArray[np.floating]

LARGEST_CLOUD = 40_000  # pixels that corners are looked for among; more are thinned evenly
LARGEST_FACTORISED = 20_000  # pixels that the components of the NMF are made of, likewise
NEIGHBOURS = 25  # pixels whose mean stands for one, so that noise makes no corners
OUTLYING = 0.0005  # share of the pixels, those farthest from their neighbours, that may not be a corner
NMF_ITERATIONS, NMF_TOLERANCE = 400, 1e-4
SCATTERED = 3.0  # times the noise, from which on pixels are said to scatter by more than that
SMALLEST_START = 1e-9  # of weights and components: all begin above zero
PHASES = ("reduced", "oxidised")  # of which the chemical map is made
EXCHANGES = 100  # rounds over the corners of the simplex
LARGER = 1e-9  # by which part a simplex must be larger for a corner to be exchanged: not for rounding


class EndMemberSettings(BaseModel):
    """How end members are found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(3, ge=2, le=6)  # at most: one more than there are components above the noise
    method: str = Field("simplex", pattern="^(simplex|clusters)$")  # corners of it, or mean spectra at the extremes
    space: str = Field("pca", pattern="^(pca|nmf)$")  # where the extremes of the clusters are picked
    cluster_share: float = Field(0.003, gt=0, le=0.1)  # of the pixels, averaged at each extreme
    cluster_pixels: int = Field(20, ge=1)  # at least


@dataclass(frozen=True)
class EndMembers:
    """End members.

    Attributes
    ----------
    spectra, sigma : numpy.ndarray, shape (number, energies)
        Normalised, and their standard uncertainty.
    clusters : list of numpy.ndarray of int
        The pixels nearest to each, or those that it is the mean of.
    purity : numpy.ndarray, shape (number,)
        Share of each in the pixels of its cluster.
    names : list of str
    measured : list of bool
        Whether each is a reference that was measured, and not found in the pixels.
    scatter : float
        Standard deviation of the pixels in the strongest direction that no end member explains, over their noise.
    """

    spectra: FloatArray
    sigma: FloatArray
    clusters: list[NDArray[np.intp]]
    purity: FloatArray
    names: list[str]
    measured: list[bool]
    scatter: float = 1.0

    @property
    def note(self) -> str:
        """What is not known of them; "" where all were measured."""
        found = [name for name, measured in zip(self.names, self.measured, strict=True) if not measured]
        if not found:
            return ""
        beyond = (
            f"; the pixels scatter by {self.scatter:.1f} times their noise beside them, as where rims are misplaced:"
            " what is found may lie beyond what is pure by more than the uncertainties say"
        )
        return (
            f"{', '.join(found)}: found in the pixels, none of which need be pure; the uncertainties allow for corners"
            f" that no pixel reaches{beyond if self.scatter > SCATTERED else ''}"
        )


def extreme_clusters(scores: FloatArray, number: int, settings: EndMemberSettings) -> list[NDArray[np.intp]]:
    """Find the corners of a cloud of pixels, and the pixels nearest to each.

    Parameters
    ----------
    scores : numpy.ndarray, shape (pixels, dimensions)
        Coordinates of each pixel; one dimension less than there are corners, or more.
    number : int
        Corners.
    settings : EndMemberSettings

    Returns
    -------
    list of numpy.ndarray of int
        The pixels of each cluster.

    Raises
    ------
    ValueError
        When there are too few pixels or dimensions.

    Notes
    -----
    The simplex of largest volume with corners among the pixels (N-FINDR: Winter, Proc. SPIE 3753 (1999) 266), each
    pixel taken as the mean of its neighbours in the cloud.
    """
    size = cluster_size(scores, number, settings)
    return nearest_pixels(scores[:, : number - 1], extremes(scores[:, : number - 1]), size)


def cluster_size(scores: FloatArray, number: int, settings: EndMemberSettings) -> int:
    """Give how many pixels make a cluster.

    Raises
    ------
    ValueError
        When there are too few pixels or dimensions for so many clusters.
    """
    size = max(settings.cluster_pixels, round(settings.cluster_share * len(scores)))
    if len(scores) < number * size:
        raise ValueError(f"{len(scores)} pixels are left, expected {number * size} or more for {number} end members")
    if scores.shape[1] < number - 1:
        raise ValueError(f"{scores.shape[1]} components, expected {number - 1} or more for {number} end members")
    return size


def extremes(cloud: FloatArray) -> FloatArray:
    """Find the corners of the largest simplex with corners among the pixels, shape (dimensions + 1, dimensions)."""
    fewer = thinned(cloud, LARGEST_CLOUD)
    _, nearest = cKDTree(fewer).query(fewer, k=min(NEIGHBOURS, len(fewer)))
    smooth = fewer[nearest].mean(axis=1)
    spread = np.linalg.norm(fewer - smooth, axis=1)
    inner = smooth[spread <= np.quantile(spread, 1 - OUTLYING)]
    return _largest_simplex(inner, cloud.shape[1] + 1)


def nearest_pixels(cloud: FloatArray, corners: FloatArray, size: int) -> list[NDArray[np.intp]]:
    """Give the numbers, ascending, of so many pixels nearest to each corner."""
    distances = (np.linalg.norm(cloud - corner, axis=1) for corner in corners)
    return [np.sort(np.argpartition(distance, size - 1)[:size]) for distance in distances]


def thinned(pixels: NDArray[Any], most: int) -> NDArray[Any]:
    """Give pixels as they are, or of more than `most` every second, third, ... one."""
    return pixels[:: max(1, math.ceil(len(pixels) / most))]


def _largest_simplex(points: FloatArray, number: int) -> FloatArray:
    """Give the corners of the simplex of largest volume: successive projection first, then exchange of corners."""
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    basis = np.zeros((0, points.shape[1]))
    for _ in range(number - 1):
        rest = points - points[chosen[0]]
        rest = rest - rest @ basis.T @ basis
        farthest = int(np.argmax(np.linalg.norm(rest, axis=1)))
        chosen.append(farthest)
        basis = np.vstack([basis, rest[farthest] / (np.linalg.norm(rest[farthest]) or 1.0)])
    lifted = np.column_stack([np.ones(len(points)), points])
    for _ in range(EXCHANGES):
        before = list(chosen)
        for corner in range(number):
            matrix = lifted[chosen]
            # The volume is linear in each corner: its coefficients are the cofactors of that row.
            cofactors = np.array(
                [
                    (-1) ** (corner + column) * np.linalg.det(np.delete(np.delete(matrix, corner, 0), column, 1))
                    for column in range(number)
                ]
            )
            volumes = np.abs(lifted @ cofactors)
            best = int(np.argmax(volumes))
            if volumes[best] > volumes[chosen[corner]] * (1 + LARGER):
                chosen[corner] = best
        if chosen == before:
            break
    return points[chosen]


def average_clusters(
    spectra: FloatArray, variance: FloatArray, clusters: list[NDArray[np.intp]]
) -> tuple[FloatArray, FloatArray]:
    """Average the measured spectra of each cluster.

    Parameters
    ----------
    spectra, variance : numpy.ndarray, shape (pixels, energies)
    clusters : list of numpy.ndarray of int

    Returns
    -------
    means, sigma : numpy.ndarray, shape (clusters, energies)
    """
    means = np.array([spectra[cluster].mean(axis=0) for cluster in clusters])
    sigma = np.array([np.sqrt(variance[cluster].sum(axis=0)) / len(cluster) for cluster in clusters])
    return means, sigma


def order_and_name(
    energies: FloatArray, spectra: FloatArray, amounts: FloatArray, edge: Edge, known: Sequence[str] = ()
) -> tuple[list[int], list[str]]:
    """Give the order of end members and their names.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    spectra : numpy.ndarray, shape (number, energies)
        Normalised, background subtracted.
    amounts : numpy.ndarray, shape (number,)
        How much of each there is in all pixels.
    edge : Edge
    known : sequence of str
        Names of the first ones, which were measured.

    Returns
    -------
    order : list of int
        Reduced, oxidised, then the others.
    names : list of str
        In that order.

    Notes
    -----
    Of those without a name, those that there is most of are the phases. Where the edge says at which energy the
    oxidised phase absorbs more, that tells them apart, and it is by what they absorb there that there is most: binder
    absorbs nothing. Elsewhere the centre of gravity tells them apart, for an edge moves up on oxidation. Where binder
    has no such edge, all end members are of the element, and what is no phase is thick, or at the rim of grains.
    """
    named = {name: place for place, name in enumerate(known)}
    if edge.feature is not None:
        mark = spectra[:, np.abs(energies - edge.feature).argmin()]
        most = amounts * np.clip(mark, 0.0, None) if edge.of_binder else amounts
    else:
        weight = np.clip(spectra, 0.0, None)
        mark = weight @ energies / weight.sum(axis=1)
        most = amounts
    ranked = [place for place in np.argsort(-most, kind="stable").tolist() if place >= len(known)]
    missing = [phase for phase in PHASES if phase not in named]
    candidates, others = ranked[: len(missing)], ranked[len(missing) :]
    named |= dict(zip(missing, sorted(candidates, key=lambda place: float(mark[place])), strict=False))
    named |= {"other" if len(others) == 1 else f"other {number}": place for number, place in enumerate(others, start=1)}
    names = sorted(named, key=lambda name: PHASES.index(name) if name in PHASES else len(PHASES))
    return [named[name] for name in names], names


@dataclass(frozen=True)
class Factorisation:
    """Non-negative components and weights whose product is a matrix of spectra.

    Attributes
    ----------
    weights : numpy.ndarray, shape (pixels, number)
    components : numpy.ndarray, shape (number, energies)
    iterations : int
    converged : bool
    reconstruction_error : float
        2-norm of what is left of the matrix.
    status : str
        "ok", or why there is none: then the number is 0.
    """

    weights: FloatArray
    components: FloatArray
    iterations: int
    converged: bool
    reconstruction_error: float
    status: str

    @classmethod
    def none(cls, pixels: int, energies: FloatArray, status: str) -> Factorisation:
        """Give no components, and why."""
        return cls(np.zeros((pixels, 0)), np.zeros((0, len(energies))), 0, False, float("nan"), status)


def factorise(spectra: FloatArray, start: FloatArray, *, seed: int = 0) -> Factorisation:
    """Factorise non-negative spectra into non-negative components and weights, begun at the extremes.

    Parameters
    ----------
    spectra : numpy.ndarray, shape (pixels, energies)
        What noise has made negative counts as 0.
    start : numpy.ndarray, shape (number, energies)
        Spectra to begin with: those of the extreme clusters.
    seed : int

    Returns
    -------
    Factorisation

    Notes
    -----
    scikit-learn's coordinate descent (Cichocki and Phan, IEICE Trans. E92-A (2009) 708).
    """
    positive = np.maximum(spectra, 0.0)
    components = np.maximum(start, SMALLEST_START)
    weights = np.maximum(positive @ np.linalg.pinv(components), SMALLEST_START)
    from sklearn.decomposition import NMF  # noqa: PLC0415 - it imports pandas, and takes half a second
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    model = NMF(len(start), init="custom", solver="cd", tol=NMF_TOLERANCE, max_iter=NMF_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` says so
        weights = model.fit_transform(positive, W=weights, H=components)
    return Factorisation(
        weights,
        model.components_,
        int(model.n_iter_),
        bool(model.n_iter_ < NMF_ITERATIONS),
        float(model.reconstruction_err_),
        "ok",
    )
