"""Images of a stack as the simulated microscope measures them, and how far they really drifted."""

from dataclasses import dataclass

import numpy as np

from callbacks.contract import StxmGrid, StxmRegion
from callbacks.stxm.alignment.registration import RegistrationSettings
from callbacks.stxm.stack import IMAGE, Image
from callbacks.stxm.steps.lines import count_rate
from callbacks.stxm.steps.registration import Registration
from simulated_devices.physics.microscope import DARK_RATE, DEAD_TIME, focal_length
from simulated_devices.physics.ring import FULL_CURRENT
from simulated_devices.physics.undulator import gap_of
from simulated_devices.world.endstation import SimulatedEndstation

SETTLING = 1.5  # s that the energy takes


@dataclass(frozen=True)
class Field:
    """Lines and columns of an image, their step and first positions, um, and the dwell, s."""

    shape: tuple[int, int]
    step: float
    x: float
    y: float
    dwell: float


def simulated_stack(energies, field, sample, seed):
    """Measure a stack; give its images, and how far each has drifted from the first, shape (images, 2), pixel."""
    world = SimulatedEndstation(seed=seed)
    world.sample, world.shutter_open = sample, True
    lines, columns = field.shape
    x, moment = field.x + field.step * np.arange(columns), world.clock.start
    images, drifts = [], []
    for number, energy in enumerate(energies):
        world.energy, world.gap = float(energy), gap_of(float(energy))
        world.microscope.zone_plate = focal_length(energy)
        rate, variance, off = np.empty(field.shape), np.empty(field.shape), np.empty((2, *field.shape))
        moment += SETTLING
        moved, moments = [], []
        for row, y in enumerate(field.y + field.step * np.arange(lines)):
            counts, dwell, at_x, at_y = world.line(moment, x, y, field.dwell, point=False)
            time = world.line_time(columns, field.dwell, point=False)
            middle = np.array([moment + time / 2])
            moments.append(middle[0])
            moved.append(world.microscope.displacement(middle)[:, 0])
            one = count_rate(counts, dwell, dead_time=DEAD_TIME, dark_rate=DARK_RATE)
            factor = FULL_CURRENT / float(world.ring.current(middle)[0])
            rate[row], variance[row] = one.value * factor, one.variance * factor**2
            off[:, row] = (at_y - y) / field.step, (at_x - x) / field.step
            moment += time
        images.append(Image(number, float(energy), rate, variance, off, lines, np.array(moments)))
        drifts.append(np.mean(moved, axis=0) / field.step)
    return images, np.array(drifts) - drifts[0]


def registered(images, settings=None):
    """Register images; give the shifts as they were found live, and the result, both in the order of measurement."""
    lines, columns = images[0].rate.shape
    region = StxmRegion(x=(0, columns - 1), y=(0, lines - 1), columns=columns, rows=lines)
    grid = StxmGrid(energies=[image.energy for image in images], regions=[region])
    step = Registration(grid, settings or RegistrationSettings())
    live = [step.push({IMAGE: image})["shift"][0] for image in images]
    result = step.result
    place = np.argsort(np.argsort([image.energy for image in images], kind="stable"), kind="stable")
    assert (result.image_status == "ok").all()
    return np.array(live), result.drift[place, 0], result.drift_sigma[place, 0]
