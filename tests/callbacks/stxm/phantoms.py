"""Made-up samples with known truth, and the lines a microscope would count on them."""

import numpy as np
from scipy import ndimage

from callbacks.contract import Key, Measurement, StxmGrid, StxmRegion
from callbacks.pipelines import StxmSettings, stxm_stack

DWELL = 2e-3  # s


def blobs(shape, rng, *, number=14, smooth=2.0, empty=0.3):
    """A thickness map of discs, smooth as a probe makes it, with nothing on its left side."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    thickness = np.zeros(shape)
    for _ in range(number):
        radius = rng.uniform(0.05, 0.14) * min(shape)
        y, x = rng.uniform(0, shape[0]), rng.uniform((empty + 0.1) * shape[1], shape[1])
        inside = 1 - ((rows - y) ** 2 + (columns - x) ** 2) / radius**2
        thickness = np.maximum(thickness, rng.uniform(0.5, 1.0) * np.sqrt(np.clip(inside, 0, None)))
    return ndimage.gaussian_filter(thickness, smooth)


def peak(energies, centre, fwhm):
    return np.exp(-0.5 * ((energies - centre) * 2.3548 / fwhm) ** 2)


def edge(energies, centre=535.0, width=1.2):
    return 0.5 + np.arctan((energies - centre) / (width / 2)) / np.pi


def oxygen_spectra(energies):
    """Absorption of reduced oxide, oxidised oxide and binder, each with an edge jump of about 1."""
    base = 0.2 * (520.0 / energies) ** 3
    reduced = base + 0.5 * peak(energies, 529.0, 1.1) + 0.6 * peak(energies, 531.4, 1.5) + edge(energies)
    oxidised = (
        base
        + 0.65 * peak(energies, 529.0, 1.1)
        + 0.45 * peak(energies, 530.8, 1.1)
        + 0.75 * peak(energies, 531.4, 1.5)
        + edge(energies)
    )
    binder = 2 * base + 0.4 * peak(energies, 532.0, 1.2) + edge(energies, 533.5, 1.5)
    return np.array([reduced, oxidised, binder])


def grid_of(energies, shape, pixel=0.03, **kwargs):
    region = StxmRegion(
        x=(0.0, pixel * (shape[1] - 1)), y=(0.0, pixel * (shape[0] - 1)), columns=shape[1], rows=shape[0]
    )
    return StxmGrid(energies=list(energies), regions=[region], **kwargs)


def reduced_chain(counts, energies, *, settings=None, edge_name="O K", lines=None, grid=None, dwell=DWELL, **values):
    """Send counts, shape (energies, rows, columns), line by line through the steps of a stack."""
    grid = grid or grid_of(energies, counts.shape[1:])
    measurement = Measurement(
        technique="stxm",
        sample="phantom",
        edge=edge_name,
        points=len(energies) * grid.lines,
        exposure_time=dwell,
        grid=grid,
    )
    chain = stxm_stack(settings or StxmSettings(), measurement)
    images = []
    for energy, image in enumerate(counts):
        for row, line in enumerate(image):
            number = energy * grid.lines + row + 1
            if lines is not None and number not in lines:
                continue
            event = {
                "seq_num": number,
                str(Key.STXM_COUNTS): line,
                str(Key.STXM_DWELL): np.full(len(line), dwell),
                str(Key.ENERGY): float(energies[energy]),
            }
            _, problem = chain.push(event | {key: value[energy] for key, value in values.items()})
            assert problem == ""
            images += push_images(chain)
    images += push_images(chain, final=True)
    return chain, images


def push_images(chain, *, final=False):
    kept = []
    for image in chain.take_closed(final=final):
        outputs, problem = chain.behind.push(image)
        assert problem == ""
        kept.append(outputs)
    return kept
