"""Runs of every technique with their reduction, to be exported."""

import numpy as np
from frame_documents import COLUMNS, FRAMES, ROWS, raw_run, write_frames

from beamline.formats.importers.point_spectrum import Detector, PointSpectrum, point_spectrum_run
from beamline.storage.results import collect
from beamline.techniques import pipelines
from callbacks.reduction import Reducer


def reduced(documents, settings=None):
    """Reduce a run with the settings that hold by default, or with these."""
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), settings or {})
    for name, doc in documents:
        reducer(name, doc)
    return collect(found)


def xas_documents(points=81, *, names=("i0", "tey", "PMT"), order=None, seed=0):
    """A spectrum with an edge and a line above it; `order` is that of the measurement."""
    rng = np.random.default_rng(seed)
    energies = np.linspace(520.0, 560.0, points)
    absorption = 0.3 + 0.7 / (1 + np.exp(-(energies - 535))) + 0.5 * np.exp(-((energies - 537) ** 2) / 2)
    counts = {"i0": 1e6 * np.ones(points), "tey": 1e5 * absorption, "PMT": 1e6 * np.exp(-absorption)}
    of = np.arange(points) if order is None else np.asarray(order)
    detectors = [Detector(name, rng.poisson(counts[name])[of].astype(float)) for name in names]
    spectrum = PointSpectrum(
        energies=energies[of],
        readback=energies[of] + 0.0123,
        dwell=np.full(points, 0.5),
        ring_current=np.linspace(400, 399, points),
        times=1.7e9 + 0.6 * np.arange(points),
        detectors=detectors,
        x=1.0,
        y=2.0,
        measured=np.ones(points, bool),
    )
    return list(point_spectrum_run(spectrum, sample="NiO", metadata={"scan_id": 3}, source="test", start_time=1.7e9))


def rixs_documents(path, form="stream", *, expected=None, **options):
    """A map whose frames are in the file: with an elastic line that moves by four columns an eV, or these photons."""
    if expected is None:
        expected = np.full((FRAMES, ROWS, COLUMNS), 0.05)
        for frame in range(FRAMES):
            expected[frame, :, :] += 3 * np.exp(-((np.arange(COLUMNS) - 60 - 4 * frame) ** 2) / 8)
    return list(raw_run(write_frames(path, expected), form, **options))
