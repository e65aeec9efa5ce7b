"""Edge positions of measured spectra beside Larch's: how far apart they are, in eV and sigmas, and why.

Run as ``python tests/benchmarks/bench_edges.py FOLDER ...`` over folders with Athena projects, XDI and columns, as the
examples of xraylarch and ifeffit are; needs ``pip install xraylarch``, without which only ours are told. `--of-each N`
takes at most N spectra of a file, as projects hold many repeats of one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from beamline.acquire.references import channel_of
from beamline.errors import BeamlineError
from beamline.formats.importers.kind import Request
from beamline.formats.importers.kinds import kind_of
from beamline.operations.analysed_absorption import absorption_of
from beamline.storage.results import Run
from callbacks.analysis import Spectra
from callbacks.contract import Measurement
from callbacks.xas.derivative import derivative
from callbacks.xas.edge_position import edge_position
from callbacks.xas.spectrum import XasSettings, XasSpectrum, channels_of

KINDS = ("xdi", "athena", "spec", "columns")  # of files with absorption spectra
AROUND, HALF_WIDTH = 15.0, 3.0  # eV: where the inflection is looked for; twice the width of a K edge of some keV
FAR, FAR_SIGMAS = 0.1, 3.0  # eV and quoted sigmas: what differs by more is listed


@dataclass(frozen=True)
class Measured:
    """A spectrum of a file."""

    name: str
    spectra: Spectra  # of what was measured


@dataclass(frozen=True)
class Position:
    """An edge position: eV, its standard uncertainty, and "ok" or why there is none."""

    energy: float
    sigma: float
    status: str


@dataclass(frozen=True)
class OfLarch:
    """What Larch makes of a spectrum: energies, its normalised spectrum and the largest slope, eV."""

    energy: np.ndarray
    norm: np.ndarray
    e0: float

    def crossings(self) -> np.ndarray:
        """Give where its normalised spectrum rises through one half, eV."""
        low = np.flatnonzero((self.norm[:-1] < 0.5) & (self.norm[1:] >= 0.5))
        share = (0.5 - self.norm[low]) / (self.norm[low + 1] - self.norm[low])
        return self.energy[low] + share * (self.energy[low + 1] - self.energy[low])

    def crossing_near(self, energy: float) -> float:
        """Give the one nearest to an energy, eV; NaN where there is none."""
        found = self.crossings()
        return float(found[np.argmin(np.abs(found - energy))]) if found.size else float("nan")


def spectra_in(folder: Path, most: int) -> Iterator[Measured]:
    """Read the spectra of all files below a folder by our importers and our reduction."""
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        try:
            kind = kind_of(path)
            if kind.name in KINDS:
                with tempfile.TemporaryDirectory() as frames:
                    yield from islice(_reduced(path, kind.documents(Request(path, Path(frames)))), most)
        except BeamlineError as error:
            print(f"left out: {str(error)[:160]}", file=sys.stderr)


def _reduced(path, documents):
    for name, doc in documents:
        if name == "start":
            start = doc
            step = XasSpectrum(XasSettings(), channels_of(Measurement.model_validate(doc["measurement"])))
        elif name == "event":
            step.push({**doc["data"], "seq_num": doc["seq_num"], "time": doc["time"]})
        elif name == "stop":
            run, result = Run(start), step.result
            spectra = absorption_of(run, result, channel_of(result, ""))
            known = np.isfinite(spectra.values) & np.isfinite(spectra.variance)
            yield Measured(
                f"{path.name}: {run.measurement.sample}",
                Spectra(spectra.energy[known], spectra.values[known], spectra.variance[known]),
            )


def half_jump(spectra: Spectra, **options) -> Position:
    """Give our edge position."""
    if not spectra.energy.size:
        return Position(float("nan"), float("nan"), "no point of it has an uncertainty")
    try:
        found = edge_position(spectra.energy, spectra.values, spectra.variance, **options)
    except ValueError as error:
        return Position(float("nan"), float("nan"), str(error))
    return Position(float(found.position), float(found.sigma), str(found.status))


def inflection(spectra: Spectra, near: float) -> Position:
    """Give where our slope is largest, within some eV of an energy."""
    try:
        part = spectra.within((near - 2 * AROUND, near + 2 * AROUND))
        found = derivative(
            part.energy, part.values, part.variance,
            half_width=HALF_WIDTH, search=(near - AROUND, near + AROUND),
        )  # fmt: skip
    except ValueError as error:
        return Position(float("nan"), float("nan"), str(error))
    return Position(float(found.inflection), float(found.inflection_sigma), str(found.status))


def of_larch(spectra: Spectra, **options) -> tuple[OfLarch, object]:
    """Normalise a spectrum as Larch does."""
    from larch import Group
    from larch.xafs import pre_edge

    group = Group(energy=spectra.energy.copy(), mu=spectra.values.copy())
    pre_edge(group, **options)
    return OfLarch(group.energy, group.norm, float(group.e0)), group.pre_edge_details


def by_one_normalisation(spectra: Spectra, larch: OfLarch, details) -> float:
    """Give by how much the two differ, eV: the same points, a constant jump, a line between two points."""
    at, e0 = spectra.energy, larch.e0
    # As Larch chooses points: from the last at or below the beginning, up to, not with, the one nearest to the end.
    pre, post = (
        (np.searchsorted(at, e0 + low, side="right") - 1, np.abs(at - e0 - high).argmin() - 1)
        for low, high in ((details.pre1, details.pre2), (details.norm1, details.norm2))
    )
    equal = Spectra(at, spectra.values, np.full(len(at), float(np.median(spectra.variance))))
    ours = half_jump(
        equal, pre_edge=tuple(at[list(pre)]), post_edge=tuple(at[list(post)]), post_edge_form="mean", points=2
    )
    options = {name: getattr(details, name) for name in ("pre1", "pre2", "norm1", "norm2")}
    theirs, _ = of_larch(spectra, e0=e0, nnorm=0, npre=1, **options)
    return ours.energy - theirs.crossing_near(ours.energy)


def reason(ours: Position, larch: OfLarch) -> tuple[str, str]:
    """Say why our position is not that of Larch's spectrum nearest to its largest slope, and the particulars."""
    theirs, same = larch.crossing_near(larch.e0), larch.crossing_near(ours.energy)
    if same != theirs:
        count = int((np.abs(larch.crossings() - ours.energy) < AROUND).sum())
        return "Larch's largest slope is at another rise through half", f"{count} within {AROUND:g} eV"
    level = float(np.interp(ours.energy, larch.energy, larch.norm))
    return "normalised otherwise", f"Larch's spectrum is at {level:.3f} there, not 0.5"


def told(name: str, differences: list[float], sigmas: list[float] | None = None) -> None:
    """Print how large differences are, eV, and over their sigmas."""
    for unit, values in (
        ("eV", differences),
        ("sigma", [d / s for d, s in zip(differences, sigmas or (), strict=False)]),
    ):
        size = np.abs([value for value in values if np.isfinite(value)])
        if size.size:
            shown = "".join(f"{one:10.4g}" for one in (*np.percentile(size, [50, 68, 95]), size.max()))
            print(f"{name:58} {unit:5} {size.size:6d}{shown}")


def compare(found: list[Measured]) -> None:
    """Print the table, and what differs by more than it should."""
    own: dict[str, list[tuple[float, float]]] = {}
    same, listed, refused = [], [], Counter()
    for one in found:
        ours = half_jump(one.spectra)
        try:
            larch, details = of_larch(one.spectra)
        except ValueError as error:  # as of too few points
            refused[f"{type(error).__name__}: {error}"] += 1
            continue
        if ours.status != "ok":
            continue
        theirs = larch.crossing_near(larch.e0)
        slope = inflection(one.spectra, ours.energy)
        for name, (first, second) in {
            "half of the jump, both by their defaults": (ours, theirs),
            "the same, of several crossings the same": (ours, larch.crossing_near(ours.energy)),
            "our half of the jump - Larch's e0 (another quantity)": (ours, larch.e0),
            "our inflection - Larch's e0": (slope, larch.e0),
        }.items():
            own.setdefault(name, []).append((first.energy - second, first.sigma))
        same.append(by_one_normalisation(one.spectra, larch, details))
        away = ours.energy - theirs
        if not (abs(away) <= FAR and abs(away) <= FAR_SIGMAS * ours.sigma):
            why, more = reason(ours, larch)
            listed.append((abs(away), why, f"{one.name[:60]:60} {away:+9.3f} ± {ours.sigma:.3f} eV  {why}: {more}"))
    for said, count in refused.most_common():
        print(f"Larch refuses {count}: {said[:100]}")
    print(f"\n{'differences':58} {'':5} {'number':>6}{'median':>10}{'68 %':>10}{'95 %':>10}{'largest':>10}")
    told("half of the jump, normalised over the same points", same)
    for name, pairs in own.items():
        told(name, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    print(f"\n{len(listed)} differ by more than {FAR:g} eV or {FAR_SIGMAS:g} sigma:")
    for why, count in Counter(why for _, why, _ in listed).most_common():
        print(f"  {count:5d}  {why}")
    for _, _, line in sorted(listed, reverse=True):
        print(line)


def main() -> int:
    """Read, and compare; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--of-each", type=int, default=sys.maxsize, metavar="N", help="at most so many spectra a file")
    options = parser.parse_args()
    found = [one for folder in options.folders for one in spectra_in(folder, options.of_each)]
    print(f"{len(found)} spectra")
    for points in (None, 2):
        statuses = Counter(half_jump(one.spectra, points=points).status for one in found)
        print(f"by {'as many points as are needed' if points is None else f'{points} points'}:")
        for status, count in statuses.most_common():
            print(f"  {count:5d}  {status}")
    if find_spec("larch") is None:
        print("xraylarch cannot be imported: positions are not compared", file=sys.stderr)
        return 0
    print(f"Larch {version('xraylarch')}")
    compare(found)
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore")  # of the peer
    sys.exit(main())
