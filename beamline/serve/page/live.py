"""Follow the run that is measured, and keep the newest of its figures for whoever watches."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.serve.page import rixs_view, stxm_view, xas_view
from beamline.serve.page.growing import GrowingRun
from beamline.serve.page.panels import Panel
from beamline.storage.follow import POLL_INTERVAL, LogChanges, LogFollower
from beamline.storage.joined import Joining
from beamline.storage.runs import Entry, Runs
from callbacks.contract import DERIVATION, MEASUREMENT, reduction_of

logger = logging.getLogger(__name__)

SHORTEST = 0.1  # s from figures to the next ones
SHARE = 0.5  # of a processor that figures may take at most
VIEWS: dict[str, Callable[..., list[Panel]]] = {
    "rixs": rixs_view.panels,
    "elastic": rixs_view.panels,
    "stxm": stxm_view.panels,
    "stxm_line_spectrum": stxm_view.panels,
    "xas": xas_view.panels,
}


def panels_of(raw: GrowingRun, derived: GrowingRun | None, **options: Any) -> list[Panel]:
    """Give the figures of a run; none for what has none, as a focus scan."""
    view = VIEWS.get(str(raw.measurement.get("technique")))
    return view(raw, derived, **options) if view is not None else []


def load(runs: Runs, entry: Entry) -> tuple[GrowingRun, GrowingRun | None]:
    """Read a run and its newest reduction; of a reduction that, and its run."""
    derived = entry if entry.reduction_of else runs.derived(entry)
    raw = runs.find(entry.reduction_of) if entry.reduction_of else entry
    return grown(runs, raw), grown(runs, derived) if derived else None


def grown(runs: Runs, entry: Entry) -> GrowingRun:
    """Read all documents of a run."""
    documents = runs.documents(entry)
    run = GrowingRun(documents[0][1])
    for name, doc in documents[1:]:
        run.take(name, doc)
    return run


class Board:
    """The newest of everything, each with a mark by which a viewer knows whether he has it."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[str, bytes]] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def put(self, items: dict[str, bytes], *, prefix: str) -> None:
        """Replace all whose names begin with a prefix; may be called by any thread."""
        marked = {name: (hashlib.blake2b(item, digest_size=8).hexdigest(), item) for name, item in items.items()}
        self._loop.call_soon_threadsafe(self._put, marked, prefix)

    def _put(self, marked: dict[str, tuple[str, bytes]], prefix: str) -> None:
        kept = {name: item for name, item in self._items.items() if not name.startswith(prefix)}
        self._items = kept | marked
        self._changed.set()
        self._changed = asyncio.Event()

    def news(self, seen: dict[str, str]) -> dict[str, bytes]:
        """Give what a viewer has not seen, by name, and note that he has."""
        fresh = {name: item for name, (mark, item) in self._items.items() if seen.get(name) != mark}
        seen.clear()
        seen.update({name: mark for name, (mark, _) in self._items.items()})
        return fresh

    async def change(self) -> None:
        """Wait for a change."""
        await self._changed.wait()


class LiveFigures:
    """A thread that follows the logs and draws the run that began last.

    Parameters
    ----------
    data_dir : Path
    put : callable
        Is given the figures, packed, by name.
    watched : callable
        Tells whether anybody looks; nothing is drawn for nobody.

    Attributes
    ----------
    raw, derived : GrowingRun or None
        What is measured now, or was last.
    """

    def __init__(self, data_dir: Path, put: Callable[[dict[str, bytes]], None], watched: Callable[[], bool]) -> None:
        self._data_dir, self._put, self._watched = data_dir, put, watched
        self._ending, self._made = threading.Event(), threading.Event()
        self._beside = ThreadPoolExecutor(1, "beside")  # for what takes longer than a frame may be late
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)
        self.raw: GrowingRun | None = None
        self.derived: GrowingRun | None = None
        self._joining = Joining(lambda _uid: ())
        self.error = ""

    def start(self) -> None:
        """Begin with the newest run there is."""
        runs = Runs(self._data_dir)
        measured = [entry for entry in runs.raw() if MEASUREMENT in entry.start]
        if measured:
            try:
                self.raw, self.derived = load(runs, measured[-1])
            except BeamlineError as error:  # a run that cannot be read must not keep the page from what comes
                self.error = str(error)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._ending.set()
        self._thread.join()
        self._beside.shutdown()

    def _run(self) -> None:
        known = {self.raw.uid} if self.raw and self.raw.stop else set[str]()
        known |= {self.derived.uid} if self.derived and self.derived.stop else set()
        if self.raw is not None and self.raw.stop is None:  # it is read from its beginning, with what follows
            self.raw = self.derived = None
        follower = LogFollower(self._data_dir, wanted=lambda start: start["uid"] not in known)
        changed, drawn, took = True, 0.0, 0.0
        with closing(LogChanges(self._data_dir)) as changes, closing(follower):
            while not self._ending.is_set():
                try:
                    for name, doc in follower:
                        changed |= self._take(name, doc)
                except BeamlineError as error:  # a damaged log; the others are followed
                    self.error = str(error)
                    changes.wait()
                if self._made.is_set():
                    self._made.clear()
                    changed = True
                now = time.monotonic()
                due = drawn + max(SHORTEST, took / SHARE)
                if changed and self._watched() and now >= due:
                    self._draw()
                    changed, drawn, took = False, time.monotonic(), time.monotonic() - now
                    continue
                soon = changed and 0 < due - now < POLL_INTERVAL
                changes.wait(due - now if soon else POLL_INTERVAL, gather=0.005)

    def _take(self, name: str, doc: dict[str, Any]) -> bool:
        """Take a document; tell whether it belongs to the run that is shown."""
        if name == "start":
            if self.raw is not None and reduction_of(doc) == self.raw.uid:
                self.derived = GrowingRun(doc)
            elif MEASUREMENT in doc and DERIVATION not in doc and self._is_newer(doc):
                self._begin(doc)
            else:
                return False
            return True
        for run in (self.raw, self.derived):
            if run is not None and run.owns(name, doc):
                for each in self._joining.take(name, doc) if run is self.raw else [(name, doc)]:
                    run.take(*each)
                return name in ("event", "stop")
        return False

    def _begin(self, start: dict[str, Any]) -> None:
        """Begin with a run that is measured, and with what those have that it goes on with."""
        runs = Runs(self._data_dir)
        self.raw, self.derived = GrowingRun(start), None
        self._joining = Joining(lambda uid: runs.own_documents(runs.find(uid)))
        for name, doc in self._joining.take("start", start):
            self.raw.take(name, doc)

    def _is_newer(self, start: dict[str, Any]) -> bool:
        """Tell whether a run began after the one that is shown: logs are met in no order of time."""
        return self.raw is None or start["time"] > self.raw.start["time"]

    def _later(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something beside; what is shown is drawn again when it is done."""
        doing = self._beside.submit(work)
        doing.add_done_callback(lambda _: self._made.set())
        return doing

    def _draw(self) -> None:
        if self.raw is None:
            return
        began = time.monotonic()
        try:
            is_rixs = VIEWS.get(str(self.raw.measurement.get("technique"))) is rixs_view.panels
            made = panels_of(self.raw, self.derived, **({"later": self._later} if is_rixs else {}))
            self._put({panel.name: panel.packed() for panel in made})
            self.error = ""
        except Exception as error:  # the next figures may succeed
            self.error = f"figures cannot be drawn: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            logger.exception("figures of run %s, %.3f s", self.raw.uid, time.monotonic() - began)
        finally:
            for run in (self.raw, self.derived):
                if run is not None:
                    run.close()  # another process writes the files, event by event
