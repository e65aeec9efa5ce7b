"""Measure on the simulated endstation what the recipes beside this file draw: ``python measure.py FOLDER``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from beamline.acquire.session import Session, measure
from beamline.endstation.config import Config, load_config
from plans import rixs_map, stxm_line_spectrum, stxm_stack, xas

CHARGES = ("LRNMC 131 mAh/g", "LRNMC 311 mAh/g", "LRNMC discharged")  # to the plateau, to its end, and back
OTHER = "LRNMC 311 mAh/g, coin cell"
REFERENCES = ("LRNMC powder reference", "LRNMC oxidised reference")
SPECTRA = {
    "O K": "520:526:0.5, 526:535:0.1, 535:560:0.5",
    "Mn L3": "628:638:0.5, 638:658:0.1, 658:670:0.5",
    "Co L3": "770:776:0.5, 776:800:0.1, 800:810:0.5",
    "Ni L3": "842:850:0.5, 850:876:0.1, 876:890:0.5",
}
IMAGES = {
    "O K": "520:526:3, 527:534:0.5, 535:560:5",
    "Mn L3": "630:636:3, 638:647:0.5",
    "Co L3": "771:774:1.5, 776:784:0.5",  # above L1 of manganese at 769 eV
    "Ni L3": "842:848:1.5, 851:857:0.4",
}
FIELD, LINE = "x=-1.82:2.38:0.07 y=-1.82:1.82:0.07", "x=-2.7:1.77:0.03 y=0"
LOWEST_JUMP = 0.02  # optical density: pixels hold sample above it
MAP = "526:529:0.75, 529.5:533:0.35, 534:542:2"


def spectra(end: object) -> Iterator[object]:
    """Give the absorption spectra: of all edges, in flight."""
    samples = ("LRNMC pristine", *CHARGES)
    wanted = {"O K": CHARGES[1:2], **dict.fromkeys(list(SPECTRA)[1:], samples)}
    for edge, energies in SPECTRA.items():
        for sample in (*wanted[edge], "LRNMC 311 mAh/g, sonicated"):
            yield xas(end, energies, 5.0, sample=sample, edge=edge, mode="fly")


def stacks(end: object) -> Iterator[object]:
    """Give the line spectra of references, and the stacks of images, at all edges."""
    for edge, energies in IMAGES.items():
        for sample in (*REFERENCES, *(["carbon"] if edge == "O K" else [])):
            yield stxm_line_spectrum(end, energies, LINE, 0.5, sample=sample, edge=edge)
        for sample in (*CHARGES, OTHER):
            yield stxm_stack(end, energies, FIELD, 0.1, sample=sample, edge=edge)


def maps(end: object) -> Iterator[object]:
    """Give the RIXS maps."""
    for sample in CHARGES:
        yield rixs_map(end, MAP, 300.0, sample=sample, edge="O K")


def hurried(config: Config) -> Config:
    """Let the simulated time pass faster than it does by default, and take pixels with low edges, as of cobalt."""
    shared = config.endstation.shared
    faster = shared.model_copy(update={"options": shared.options | {"speed_up": 2e4}})
    endstation = config.endstation.model_copy(update={"shared": faster})
    processing = config.processing | {"stxm": {"absorbance": {"lowest_jump": LOWEST_JUMP}}}
    return config.model_copy(update={"endstation": endstation, "processing": processing})


def measure_all(folder: Path, **options: Any) -> None:
    """Measure everything; `options` are those of the session."""
    with Session(hurried(load_config()), folder, **options) as session:
        for plans in (spectra, stacks, maps):
            for plan in plans(session.endstation):
                measure(session, plan)
        session.drain()


if __name__ == "__main__":
    measure_all(Path(sys.argv[1]))
