"""Keep a picture of the stack that is being measured up to date: a PNG, and a page that shows the newest one."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from beamline.report.stxm.live import History, draw_stack
from beamline.storage import Layout
from callbacks.contract import MEASUREMENT, Stream

logger = logging.getLogger(__name__)

INTERVAL = 2.0  # s between pictures at least: drawing takes time from everything else in this process
SHARE = 0.1  # of the time that drawing may take at most: a picture takes longer the more there is to show
PICTURE, PAGE = "stxm.png", "stxm.html"
PAGE_TEXT = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>STXM, live</title>
<style>body {{ font: 15px system-ui, sans-serif; margin: 1em; }} img {{ max-width: 100%; }}</style></head>
<body><h1>STXM, live</h1><img alt="newest image, shifts, components and chemical map" src="{PICTURE}"></body></html>
"""


class LivePicture:
    """Draw the newest image of a stack on a thread of its own. Callable with (name, document) of derived runs.

    Only the newest image is drawn: if drawing takes longer than measuring, the images in between are skipped, and
    counted in `skipped`. Nothing waits for the drawing.

    Parameters
    ----------
    data_dir : Path
        The data folder; the page is ``<data_dir>/live/stxm.html``.

    Attributes
    ----------
    page : Path
    drawn, skipped : int
        Number of images that were drawn, and that were not.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = Layout(data_dir).live
        self.page = self._folder / PAGE
        self.drawn, self.skipped = 0, 0
        self._history: History | None = None
        self._streams: dict[str, str] = {}
        self._newest: tuple[History, dict[str, Any]] | None = None
        self._condition = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._drawn_at, self._drawing_time = 0.0, 0.0  # of the newest picture, s

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        match name:
            case "start":
                block = doc.get(MEASUREMENT, {})
                title = f"{block.get('sample', '')} {block.get('edge', '')}".strip()
                self._history = History(title, block.get("grid"))
                self._streams = {}
            case "descriptor":
                self._streams[doc["uid"]] = doc["name"]
            case "event" if (
                self._streams.get(doc["descriptor"]) == Stream.IMAGES and len(doc["data"]["optical_density"]) > 1
            ):
                self._add_image(doc["data"])

    def close(self) -> None:
        """Draw what has not been drawn yet, and end the thread; an image that comes later is not drawn."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _add_image(self, data: dict[str, Any]) -> None:
        assert self._history is not None
        self._history.append(data)
        with self._condition:
            if self._closed:
                return
            if self._newest is not None:
                self.skipped += 1
            self._newest = self._history.copy(), data
            self._condition.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._draw_all, name="live picture", daemon=True)
            self._thread.start()

    def _draw_all(self) -> None:
        while True:
            with self._condition:
                while self._newest is None and not self._closed:
                    self._condition.wait()
                if self._newest is None:
                    return
                newest, self._newest = self._newest, None
                closing = self._closed
            if not closing:
                pause = max(INTERVAL, self._drawing_time / SHARE)
                self._ended.wait(max(0.0, self._drawn_at + pause - time.monotonic()))
            self._drawn_at = time.monotonic()
            try:
                if not self.page.exists():
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self.page.write_text(PAGE_TEXT, encoding="utf-8")
                part = self._folder / f".{PICTURE}.part"
                draw_stack(*newest).savefig(part, format="png", dpi=80)
                os.replace(part, self._folder / PICTURE)
                self.drawn += 1
                self._drawing_time = time.monotonic() - self._drawn_at
            except Exception:
                logger.exception("the live picture could not be drawn")  # the next one may succeed
