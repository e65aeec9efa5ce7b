"""A frame from its file on the disk to its row of the map, and the replay of the 48 measured frames.

Run as ``python tests/benchmarks/bench_reduction.py``. The peers, in the same run: reading the frame with h5py, and, for
the replay, reading the 48 TIFF files with tifffile and summing their columns.
"""

import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import tifffile
from frames import EMISSION_SCALE, SCAN, spectrograph
from harness import Result, run, seconds

from beamline.formats.importers.irixs import irixs_documents
from beamline.operations.replay import documents_of, reduce_documents
from beamline.storage.recorder import Recorder
from beamline.storage.runs import Runs
from callbacks.contract import CcdConfig, Key, Measurement
from callbacks.external import HDF5_DATASET
from callbacks.pipelines import RixsSettings, rixs_map

FRAMES = 8
DARK_FRAMES = 5


def write_frames(path, rows):
    """Write frames of a map as a camera does."""
    model, sample = spectrograph(rows)
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(HDF5_DATASET, (FRAMES, rows, 2048), chunks=(1, rows, 2048), dtype="uint16")
        for number in range(FRAMES):
            energy = 536.0 + number

            def photons(emission, energy=energy):
                line = 320.0 * np.exp(-0.5 * ((emission - energy) / 0.05) ** 2) / (0.05 * np.sqrt(2 * np.pi))
                return line + EMISSION_SCALE * sample.emission(energy, emission) + 0.8

            data[number], _ = model.render(photons, exposure_time=300.0, rng=np.random.default_rng(number))


def frame_to_row(path, rows):
    """Time each frame from the file to its row, dark frames known, and its reading alone; ms."""
    measurement = Measurement(technique="rixs", sample="", points=FRAMES, exposure_time=300.0)
    chain, whole, reading = rixs_map(RixsSettings(), measurement), [], []
    model, _ = spectrograph(rows)
    for number in range(DARK_FRAMES):
        dark, _ = model.render(np.zeros(2048), exposure_time=300.0, rng=np.random.default_rng([1, number]))
        chain.push_dark({Key.CCD_DARK_IMAGE: dark})
    with h5py.File(path, "r", swmr=True) as file:
        data = file[HDF5_DATASET]
        for number in range(FRAMES):
            begun = time.perf_counter()
            frame = data[number]
            read = time.perf_counter()
            event = {
                Key.CCD_IMAGE: frame,
                Key.ENERGY: 536.0 + number,
                Key.I0: 2.8e7,
                Key.EXPOSURE_TIME: 300.0,
                "seq_num": number + 1,
                CcdConfig.COUNTS_PER_EV: 0.21,
                CcdConfig.READ_NOISE: 4.0,
                CcdConfig.FULL_SCALE: 65535.0,
            }
            _, problem = chain.push(event)
            assert not problem, problem
            whole.append(1e3 * (time.perf_counter() - begun))
            reading.append(1e3 * (read - begun))
    return statistics.median(whole), statistics.median(reading)


def replay(folder):
    """Time the reduction of the measured scan from its log, and the peer; s."""
    recorder = Recorder(folder)
    for name, doc in irixs_documents(SCAN, frames_dir=folder / "frames"):
        recorder(name, doc)
    recorder.close()
    runs = Runs(folder)
    reduced, _ = seconds(lambda: reduce_documents(documents_of(runs, runs.find("-1"), "log"), {}))
    read, sums = seconds(sum_columns)
    assert len(sums) == 48
    return reduced, read


def sum_columns():
    """Read the measured frames and sum their columns."""
    return [tifffile.imread(path).astype(float).sum(axis=0) for path in sorted((SCAN / "Andor").glob("*.tif"))]


def measure():
    """Reduce single frames and the measured scan."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in (64, 2048):
            write_frames(folder / f"{rows}.h5", rows)
            whole, reading = frame_to_row(folder / f"{rows}.h5", rows)
            yield Result(f"frame to row, {rows} x 2048", whole, "ms", "reading it with h5py", reading / whole)
        reduced, peer = replay(folder)
        yield Result("replay of 48 frames", reduced, "s", "reading them, summing columns", peer / reduced)


if __name__ == "__main__":
    run(measure)
