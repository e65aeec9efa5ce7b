"""The motors of the endstation, each with its velocity, limits and what it moves in the simulated world."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any

from simulated_devices.ioc.bench import Bench
from simulated_devices.ioc.motor import MotorRecord
from simulated_devices.physics.samples import PLACES
from simulated_devices.twins import Energy

IN_BEAM = 0.5  # mm: a sample that is nearer to its place than this is in the beam


def motors(bench: Bench, prefix: str) -> list[MotorRecord]:
    """Make the motor records, standing where the world has them."""
    world, microscope = bench.world, bench.world.microscope
    holder = dict(zip("XYZ", PLACES[world.sample], strict=True))
    aperture = dict(zip("XY", microscope.aperture, strict=True))

    def energy(place: float) -> float:
        world.energy = place
        return place + Energy.jitter * float(world.rng("energy").standard_normal())

    def manipulator(axis: str, place: float) -> float:
        holder[axis] = place
        for sample, goal in PLACES.items():  # between two samples, the one that was last in the beam counts
            if all(abs(holder[each] - to) < IN_BEAM for each, to in zip("XYZ", goal, strict=True)):
                world.sample = sample
        return place

    def order_sorting(axis: str, place: float) -> float:
        aperture[axis] = place
        microscope.aperture = (aperture["X"], aperture["Y"])
        return place

    def motor(
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

    def stage(name: str, place: float, on_place: Callable[[float], float]) -> MotorRecord:
        return motor(name, place, 500.0, (-3000.0, 3000.0), settle=0.1, on_place=on_place)

    return [
        motor(
            "Mono:Energy",
            world.energy,
            Energy.speed,
            Energy.limits,
            units="eV",
            settle=Energy.settle_time,
            resolution=1e-4,
            on_place=energy,
        ),
        motor("ID:Gap", world.gap, 1.0, (9.0, 60.0), units="mm", resolution=1e-4, on_place=partial(_set, world, "gap")),
        motor("ExitSlit", world.slit, 50.0, (5.0, 200.0), settle=0.5, on_place=partial(_set, world, "slit")),
        motor("Spectrograph:Energy", 525.0, 1.0, (200.0, 1500.0), units="eV", resolution=1e-3),
        *(
            motor(
                f"Sample:{axis}",
                holder[axis],
                2.0,
                (-20.0, 20.0),
                units="mm",
                resolution=1e-3,
                on_place=partial(manipulator, axis),
            )
            for axis in "XYZ"
        ),
        motor(
            "STXM:ZonePlate",
            microscope.zone_plate,
            200.0,
            (500.0, 6000.0),
            settle=0.05,
            on_place=partial(_set, microscope, "zone_plate"),
        ),
        *(
            stage(f"STXM:Coarse{axis.upper()}", microscope.coarse[axis], partial(_put, microscope.coarse, axis))
            for axis in "xy"
        ),
        *(stage(f"STXM:OSA:{axis}", aperture[axis], partial(order_sorting, axis)) for axis in "XY"),
        stage("STXM:OSA:Z", 250.0, lambda place: place),
    ]


def _set(target: Any, attribute: str, place: float) -> float:
    setattr(target, attribute, place)
    return place


def _put(target: MutableMapping[str, float], axis: str, place: float) -> float:
    target[axis] = place
    return place
