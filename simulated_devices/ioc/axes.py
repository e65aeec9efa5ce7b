"""The motors of the endstation, each with its velocity, limits and what it moves in the simulated world."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.motor import MotorRecord
from simulated_devices.physics.samples import PLACES
from simulated_devices.physics.undulator import HALF_PERIOD
from simulated_devices.twins import Energy, polarisation

IN_BEAM = 0.5  # mm: a sample within this of its position is in the beam

MakeMotor = Callable[..., MotorRecord]


def motors(bench: Bench, prefix: str) -> list[MotorRecord]:
    """Make the motor records, at the positions that the world has."""

    def make(
        name: str,
        place: float,
        velocity: float,
        limits: tuple[float, float],
        *,
        units: str = "um",
        resolution: float = 0.01,
        **options: Any,
    ) -> MotorRecord:
        return MotorRecord(
            f"{prefix}{name}",
            bench=bench,
            name=name,
            place=place,
            velocity=velocity,
            limits=limits,
            units=units,
            resolution=resolution,
            **options,
        )

    return [*_beamline(bench, make), *_manipulator(bench, make), *_microscope(bench, make)]


def _beamline(bench: Bench, make: MakeMotor) -> list[MotorRecord]:
    """Make monochromator, undulator, exit slit and spectrograph."""
    world = bench.world

    def energy(place: float) -> float:
        world.energy = place
        return place + Energy.jitter * float(world.rng("energy").standard_normal())

    return [
        make(
            "Mono:Energy",
            world.energy,
            Energy.speed,
            Energy.limits,
            units="eV",
            settle=Energy.settle_time,
            resolution=1e-4,
            on_place=energy,
        ),
        make(
            "ID:Gap",
            world.gap,
            1.0,
            (polarisation.SMALLEST_GAP, 60.0),
            units="mm",
            resolution=1e-4,
            on_place=partial(_set, world, "gap"),
        ),
        make(
            "ID:Phase",
            world.phase,
            polarisation.SPEED,
            (-HALF_PERIOD, HALF_PERIOD),
            units="mm",
            settle=polarisation.SETTLE_TIME,
            resolution=1e-4,
            on_place=partial(_set, world, "phase"),
        ),
        make("ExitSlit", world.slit, 50.0, (5.0, 200.0), settle=0.5, on_place=partial(_set, world, "slit")),
        make("Spectrograph:Energy", 525.0, 1.0, (200.0, 1500.0), units="eV", resolution=1e-3),
    ]


def _manipulator(bench: Bench, make: MakeMotor) -> list[MotorRecord]:
    """Make the axes of the sample manipulator; a sample is in the beam when all of them are at its position."""
    world = bench.world
    holder = dict(zip("XYZ", PLACES[world.sample], strict=True))

    def move(axis: str, place: float) -> float:
        holder[axis] = place
        for sample, goal in PLACES.items():  # between two samples, the last one in the beam counts
            if all(abs(holder[each] - to) < IN_BEAM for each, to in zip("XYZ", goal, strict=True)):
                world.sample = sample
        return place

    return [
        make(
            f"Sample:{axis}",
            holder[axis],
            2.0,
            (-20.0, 20.0),
            units="mm",
            resolution=1e-3,
            on_place=partial(move, axis),
        )
        for axis in "XYZ"
    ]


def _microscope(bench: Bench, make: MakeMotor) -> list[MotorRecord]:
    """Make zone plate, coarse stage and order-sorting aperture."""
    microscope = bench.world.microscope
    aperture = dict(zip("XY", microscope.aperture, strict=True))

    def move_coarse(axis: str, place: float) -> float:
        microscope.coarse[axis] = place
        return place

    def move_aperture(axis: str, place: float) -> float:
        aperture[axis] = place
        microscope.aperture = (aperture["X"], aperture["Y"])
        return place

    def stage(name: str, place: float, **options: Any) -> MotorRecord:
        return make(name, place, 500.0, (-3000.0, 3000.0), settle=0.1, **options)

    return [
        make(
            "STXM:ZonePlate",
            microscope.zone_plate,
            200.0,
            (500.0, 6000.0),
            settle=0.05,
            on_place=partial(_set, microscope, "zone_plate"),
        ),
        *(
            stage(f"STXM:Coarse{axis.upper()}", microscope.coarse[axis], on_place=partial(move_coarse, axis))
            for axis in "xy"
        ),
        *(stage(f"STXM:OSA:{axis}", aperture[axis], on_place=partial(move_aperture, axis)) for axis in "XY"),
        stage("STXM:OSA:Z", 250.0),
    ]


def _set(target: Any, attribute: str, place: float) -> float:
    setattr(target, attribute, place)
    return place
