"""How long a spectrum takes in flight, against the same counting time in steps: time of the simulated endstation.

Run as ``python tests/benchmarks/bench_flight.py``. The sample is in the beam, and the monochromator where it begins.
"""

import tempfile
from pathlib import Path

from harness import Result, run

from beamline.acquire.session import Session
from beamline.acquire.session import measure as measured
from beamline.endstation.config import load_config
from plans import xas

SAMPLE = "LRNMC pristine"
DWELL = 0.2  # s
SPEED_UP = 20.0  # of the clock; where it runs much faster, what is asked for together comes one after the other
SPECTRA = {
    "201 energies, one step": "520:560:0.2",
    "217 energies, three steps": "520:528:0.5, 528:545:0.1, 545:560:0.5",
}
FLIGHTS = (1, 2)  # sweeps; with four, 0.5 eV in 0.05 s are faster than the monochromator


def seconds(session, regions, **options):
    """Give the simulated time, s, that a spectrum takes."""
    endstation = session.endstation
    clock = endstation.energy.world.clock
    endstation.sample.set(SAMPLE).wait(60)
    endstation.energy.set(float(regions.partition(":")[0])).wait(60)
    begin = clock.now()
    measured(session, xas(endstation, regions, DWELL, sample=SAMPLE, **options))
    return clock.now() - begin


def measure():
    """Measure each spectrum in steps, and in flight."""
    config = load_config()
    config.endstation.shared.options["speed_up"] = SPEED_UP
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Session(config, Path(folder), in_process=True) as session,
    ):
        for name, regions in SPECTRA.items():
            steps = seconds(session, regions)
            for sweeps in FLIGHTS:
                flown = seconds(session, regions, mode="fly", sweeps=sweeps)
                what = f"{name}, {sweeps} sweep{'s' if sweeps > 1 else ''}"
                yield Result(what, flown, "s, simulated", "in steps", steps / flown, f"in steps {steps:.0f} s")


if __name__ == "__main__":
    run(measure)
