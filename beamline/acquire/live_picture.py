"""A picture of the stack being measured, drawn anew with every image: a PNG and a page that shows the newest one."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from beamline.report.stxm_figures import DENSITY, FRACTION, SERIES, WORST_FRACTION
from beamline.storage.layout import Layout
from callbacks.contract import MEASUREMENT, Stream

logger = logging.getLogger(__name__)

INTERVAL = 2.0  # s from one picture to the next: drawing takes time from what else runs here
SHARE = 0.1  # of the time that drawing may take: it grows with what there is to show, and shares the interpreter
PICTURE, PAGE = "stxm.png", "stxm.html"
PAGE_TEXT = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>STXM, live</title>
<style>body {{ font: 15px system-ui, sans-serif; margin: 1em; }} img {{ max-width: 100%; }}</style></head>
<body><h1>STXM, live</h1><img alt="newest image, shifts, components and chemical map" src="{PICTURE}"></body></html>
"""


class LivePicture:
    """Draw the newest image of a stack on a thread of its own. Callable with (name, document) of derived runs.

    Only the newest image is ever drawn: where drawing takes longer than measuring, the images between are passed over,
    and counted in `passed_over`. Nothing waits for it.

    Parameters
    ----------
    data_dir : Path
        The page is ``<data_dir>/live/stxm.html``.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = Layout(data_dir).live
        self.page = self._folder / PAGE
        self.drawn, self.passed_over = 0, 0
        self._history: dict[str, Any] = {}
        self._streams: dict[str, str] = {}
        self._newest: dict[str, Any] | None = None
        self._condition = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._drawn_at, self._took = 0.0, 0.0  # of the newest picture, s

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        match name:
            case "start":
                block = doc.get(MEASUREMENT, {})
                self._streams = {}
                self._history = {
                    "title": f"{block.get('sample', '')} {block.get('edge', '')}".strip(),
                    "grid": block.get("grid"),
                }
                self._history |= {"energy": [], "shift": [], "explained": [], "incident": []}
            case "descriptor":
                self._streams[doc["uid"]] = doc["name"]
            case "event" if (
                self._streams.get(doc["descriptor"]) == Stream.IMAGES and len(doc["data"]["optical_density"]) > 1
            ):
                self._image(doc["data"])

    def close(self) -> None:
        """Draw what is still to be drawn, and end."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _image(self, data: dict[str, Any]) -> None:
        self._history["energy"].append(data["energy"])
        self._history["shift"].append(np.asarray(data["shift"])[0])
        self._history["explained"].append(np.asarray(data["pca_explained"])[:3])
        self._history["incident"].append(data["incident_rate"])
        picture = {key: list(value) if isinstance(value, list) else value for key, value in self._history.items()}
        with self._condition:
            if self._newest is not None:
                self.passed_over += 1
            self._newest = picture | {"data": data}
            self._condition.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw_all, name="live picture", daemon=True)
            self._thread.start()

    def _draw_all(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.page.write_text(PAGE_TEXT, encoding="utf-8")
        while True:
            with self._condition:
                while self._newest is None and not self._closed:
                    self._condition.wait()
                if self._newest is None:
                    return
                picture, self._newest = self._newest, None
                hurry = self._closed
            if not hurry:
                pause = max(INTERVAL, self._took / SHARE)
                self._ended.wait(max(0.0, self._drawn_at + pause - time.monotonic()))
            self._drawn_at = time.monotonic()
            try:
                part = self._folder / f".{PICTURE}.part"
                draw(picture).savefig(part, format="png", dpi=80)
                os.replace(part, self._folder / PICTURE)
                self.drawn += 1
                self._took = time.monotonic() - self._drawn_at
            except Exception:
                logger.exception("the live picture could not be drawn")  # the next one may be


def draw(picture: dict[str, Any]) -> Figure:
    """Draw the newest image, the shifts, the components and the chemical map so far.

    Parameters
    ----------
    picture : dict
        `data` of the newest event of the stream `images`, and lists of what came before.
    """
    data = picture["data"]
    figure = Figure(figsize=(13.0, 7.2), layout="constrained")
    upper, lower = figure.subplots(2, 3)
    done = f"image {len(picture['energy'])}"
    if picture["grid"]:
        done += f" of {len(picture['grid']['energies'])}"
    figure.suptitle(f"{picture['title']}: {done}, {data['energy']:.2f} eV", fontsize=12)
    x, y = ((0.0, 1.0), (0.0, 1.0))
    if picture["grid"] and len(picture["grid"]["regions"]) == 1:
        region = picture["grid"]["regions"][0]
        x, y = tuple(region["x"]), tuple(region["y"])
    extent = (x[0], x[1], y[0], y[1] if y[1] != y[0] else y[0] + 1.0)
    for axes, key, title, colours, limits in (
        (upper[0], "optical_density", f"optical density (I0: {data['i0_status']})", DENSITY, None),
        (upper[1], "reduced_fraction", "reduced fraction", FRACTION, (0.0, 1.0)),
        (upper[2], "reduced_fraction_sigma", "its uncertainty", "magma", None),
    ):
        image = np.asarray(data[key], dtype=float)
        if key.startswith("reduced_fraction"):
            with np.errstate(invalid="ignore"):
                image = np.where(np.asarray(data["reduced_fraction_sigma"]) <= WORST_FRACTION, image, np.nan)
        axes.set_title(title if np.isfinite(image).any() else f"{title}: not yet", fontsize=10)
        axes.set_facecolor("#d8d8d8")
        axes.set(xlabel="x (um)", ylabel="y (um)")
        if not np.isfinite(image).any():
            continue
        low, high = limits or np.nanpercentile(image, (1, 99))
        shown = axes.imshow(
            image, origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high, interpolation="nearest",
            aspect="equal" if image.shape[0] > 1 else "auto",
        )  # fmt: skip
        figure.colorbar(shown, ax=axes, shrink=0.8)
    if not np.isfinite(np.asarray(data["reduced_fraction"], dtype=float)).any():
        upper[1].text(
            0.5, 0.5, str(data["chemical_status"]), transform=upper[1].transAxes, ha="center", va="center", wrap=True,
            fontsize=9,
        )  # fmt: skip
    energy = np.array(picture["energy"])
    shift = np.array(picture["shift"])
    for axis, name in enumerate(("rows", "columns")):
        lower[0].plot(energy, shift[:, axis], ".-", ms=4, lw=0.8, color=SERIES[axis], label=name)
    lower[0].set(ylabel="shift (pixel)", title="drift")
    lower[0].legend(fontsize=8)
    explained = np.array(picture["explained"])
    for component in range(explained.shape[1]):
        lower[1].plot(energy, explained[:, component], ".-", ms=4, lw=0.8, color=SERIES[component], label=component + 1)
    lower[1].set(
        ylabel="share of the variance", ylim=(0, 1), title=f"components ({data['pca_significant']} above the noise)"
    )
    lower[1].legend(fontsize=8)
    lower[2].plot(energy, np.array(picture["incident"]) / 1e6, ".-", ms=4, lw=0.8, color=SERIES[0])
    lower[2].set(ylabel="I0 (10⁶ counts/s)", title="incident flux")
    for axes in lower:
        axes.set_xlabel("energy (eV)")
        axes.grid(alpha=0.3)
    return figure
