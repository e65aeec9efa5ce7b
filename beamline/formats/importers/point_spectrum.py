"""Convert a spectrum at one point of a sample, as a STXM measures it with several detectors, to a raw run of XAS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.kind import Documents
from beamline.formats.importers.xas_run import Measured, XasScan, xas_run
from beamline.formats.text import quoted
from beamline.text import clean
from callbacks.contract import Channel, Key

FloatArray = NDArray[np.floating]

I0_NAME = re.compile(r"i[_ ]?(0|o|zero)", re.IGNORECASE)
YIELD_NAME = re.compile(r"tey|tfy|pfy|yield|fluor|sdd|drain|sample.?current", re.IGNORECASE)


@dataclass(frozen=True)
class Detector:
    """What one detector measured.

    Attributes
    ----------
    name : str
        As the file has it.
    counts : numpy.ndarray, shape (points,)
        NaN where not known.
    is_i0 : bool
        Whether the file says that it is the incident flux.
    divider : float
        Photons for each count, of a detector of transmitted light.
    """

    name: str
    counts: FloatArray
    is_i0: bool = False
    divider: float = 1.0


@dataclass(frozen=True)
class PointSpectrum:
    """A spectrum, as arrays of the shape (points,) in the order of measurement.

    Attributes
    ----------
    energies, readback : numpy.ndarray
        As requested and as read back, eV.
    dwell, ring_current, times : numpy.ndarray
        s, mA, s since 1970.
    detectors : list of Detector
    x, y : float
        Where, um; NaN if not known.
    measured : numpy.ndarray of bool
    """

    energies: FloatArray
    readback: FloatArray
    dwell: FloatArray
    ring_current: FloatArray
    times: FloatArray
    detectors: list[Detector]
    x: float
    y: float
    measured: NDArray[np.bool_]


def point_spectrum_run(
    spectrum: PointSpectrum, *, sample: str, metadata: Mapping[str, Any], source: str, start_time: float
) -> Documents:
    """Convert a spectrum to the documents of a raw run of XAS.

    Parameters
    ----------
    spectrum : PointSpectrum
    sample : str
    metadata : dict
        Of the start document; its ``import_problems`` are added to.
    source : str
        Source of the values, for the data keys.
    start_time : float
        s since 1970.

    Yields
    ------
    name, doc : str, dict
        Start, descriptor, an event for each point that was measured, stop. A channel is of transmitted light unless its
        name is that of a yield or of I0; without I0 nothing is normalised, which the start document says.
    """
    problems = list(metadata.get("import_problems", []))
    channels = _channels(spectrum, problems)
    if not any(one.channel.form == "monitor" for one in channels):
        names = ", ".join(one.channel.name for one in channels)
        problems.append(f"none of its detectors is I0 ({names}): the spectrum cannot be normalised by it alone")
    known = spectrum.measured
    scan = XasScan(
        energy=spectrum.readback[known],
        setpoint=spectrum.energies[known],
        dwell=spectrum.dwell[known],
        ring_current=spectrum.ring_current[known],
        times=spectrum.times[known],
        channels=channels,
    )
    position = {"point_x_um": spectrum.x, "point_y_um": spectrum.y}
    yield from xas_run(
        scan,
        sample=sample,
        edge="",
        start_time=start_time,
        metadata={**metadata, **position, "import_problems": problems},
        source=source,
        planned=len(spectrum.energies),
    )


def _channels(spectrum: PointSpectrum, problems: list[str]) -> list[Measured]:
    """Return the channels with what they counted."""
    found: dict[str, Measured] = {}
    for detector in spectrum.detectors:
        is_i0 = (detector.is_i0 or I0_NAME.fullmatch(detector.name.strip()) is not None) and Key.I0 not in found
        key = str(Key.I0) if is_i0 else _free_key(detector.name, found)
        form: Any = "monitor" if is_i0 else "yield" if YIELD_NAME.search(detector.name) else "transmission"
        is_divided = form == "transmission" and detector.divider != 1.0
        if key != detector.name or form == "transmission":
            what = {"monitor": "I0", "yield": "a yield", "transmission": "transmitted light"}[form]
            divided = f", in counts of {detector.divider:g} photons" if is_divided else ""
            problems.append(f"detector {quoted(detector.name)}: taken for {what}, as channel {key}{divided}")
        counts = detector.counts[spectrum.measured]
        photons = np.maximum(counts * detector.divider, 1.0)
        found[key] = Measured(
            Channel(name=key, title=clean(detector.name), form=form),
            counts,
            np.sqrt(photons) / detector.divider if is_divided else None,
            unit="counts",
        )
    return list(found.values())


def _free_key(name: str, taken: Mapping[str, Measured]) -> str:
    """Return a data key for a detector: its name in lower case, with nothing but letters, digits and ``_``."""
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "detector"
    reserved = {*map(str, Key), *taken}
    own = {str(Key.TEY), str(Key.TFY)} - set(taken)
    if key not in reserved or key in own:
        return key
    return next(new for number in range(1, len(taken) + 3) if (new := f"{key}_{number}") not in reserved)
