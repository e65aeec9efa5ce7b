"""Keep a picture of the stack that is being measured up to date: a PNG, and a page that shows the newest one."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.report.stxm.live import History, draw_stack
from beamline.storage.follow import LogFollower
from beamline.storage.layout import Layout
from callbacks.contract import MEASUREMENT, Stream, reduction_of
from callbacks.external import ExternalFrames, FrameReadError

logger = logging.getLogger(__name__)

INTERVAL = 2.0  # s between pictures at least
SHARE = 0.1  # of the time that drawing may take at most: a picture takes longer the more there is to show
PICTURE, PAGE = "stxm.png", "stxm.html"
PAGE_TEXT = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>STXM, live</title>
<style>body {{ font: 15px system-ui, sans-serif; margin: 1em; }} img {{ max-width: 100%; }}</style></head>
<body><h1>STXM, live</h1><img alt="newest image, shifts, components and chemical map" src="{PICTURE}"></body></html>
"""


@dataclass
class _Stack:
    """A stack that is being reduced: what its images have shown, and the newest one, unless it was drawn."""

    history: History
    files: ExternalFrames = field(default_factory=ExternalFrames)
    images: dict[str, list[str]] = field(default_factory=dict)  # uid of a descriptor -> its external data keys
    newest: dict[str, Any] | None = None  # event document


class LivePicture:
    """Draw the newest image of the stack that is being measured, from the logs of derived runs.

    Only the newest image is drawn: if drawing takes longer than measuring, the images in between are skipped.

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
        self._follower = LogFollower(data_dir, wanted=lambda start: bool(reduction_of(start)))
        self._stack: _Stack | None = None  # of the run that began last
        self._drawn_at, self._drawing_time = 0.0, 0.0  # of the newest picture: monotonic, s; s
        self._error = ""

    def done(self) -> int:
        """Count the pictures."""
        return self.drawn

    def advance(self) -> bool:
        """Read what has come, and draw the newest image if it is time; False when there was nothing to do."""
        busy = False
        for name, doc in self._follower:
            self._take(name, doc)
            busy = True
        stack = self._stack
        pause = max(INTERVAL, self._drawing_time / SHARE)
        if stack is None or stack.newest is None or time.monotonic() < self._drawn_at + pause:
            return busy
        newest, stack.newest = stack.newest, None
        self._draw(stack, newest)
        return True

    def check(self) -> None:
        """Nothing ends it: the next picture may succeed."""

    def unfinished(self) -> bool:
        """Tell whether the newest image is still to be drawn."""
        return self._stack is not None and self._stack.newest is not None

    def status(self) -> list[dict[str, Any]]:
        """Report why the latest picture could not be drawn, under the name of the picture; empty if it was."""
        if not self._error:
            return []
        return [{"uid": PICTURE, "documents": self.drawn, "errors": 1, "given_up": False, "error": self._error}]

    def close(self) -> None:
        """Close the logs."""
        self._follower.close()

    def _take(self, name: str, doc: dict[str, Any]) -> None:
        stack = self._stack
        match name:
            case "start":
                block = doc.get(MEASUREMENT, {})
                title = f"{block.get('sample', '')} {block.get('edge', '')}".strip()
                self._stack = _Stack(History(title, block.get("grid")))
            case "descriptor" if stack is not None and doc["name"] == Stream.IMAGES:
                keys = doc["data_keys"]
                if keys["optical_density"]["shape"][0] > 1:  # else it is a line
                    stack.images[doc["uid"]] = [key for key, described in keys.items() if described.get("external")]
            case "stream_resource" if stack is not None:
                stack.files.stream_resource(doc)
            case "stream_datum" if stack is not None:
                stack.files.stream_datum(doc)
            case "event" if stack is not None and doc["descriptor"] in stack.images:
                stack.history.append(doc["data"])
                self.skipped += stack.newest is not None
                stack.newest = doc

    def _draw(self, stack: _Stack, event: dict[str, Any]) -> None:
        self._drawn_at = time.monotonic()
        try:
            large = {key: stack.files.read(event, key) for key in stack.images[event["descriptor"]]}
            stack.files.close()  # it is written by another process, event by event
            if not self.page.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                self.page.write_text(PAGE_TEXT, encoding="utf-8")
            part = self._folder / f".{PICTURE}.part"
            draw_stack(stack.history, event["data"] | large).savefig(part, format="png", dpi=80)
            os.replace(part, self._folder / PICTURE)
        except (FrameReadError, BeamlineError, OSError, ValueError) as error:
            self.skipped += 1
            self._error = " ".join(str(error).split())
            logger.exception("the live picture could not be drawn")  # the next one may succeed
        else:
            self.drawn += 1
            self._error = ""
            self._drawing_time = time.monotonic() - self._drawn_at
