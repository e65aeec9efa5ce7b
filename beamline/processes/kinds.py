"""The kinds of processes that follow the logs of a data folder: what each does, and when it has done its part."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from beamline.storage.layout import INGEST, PICTURE, REDUCTION, Layout, is_ingested
from beamline.storage.log import find_log
from beamline.storage.reductions import is_reduced, unreduced


class Worker(Protocol):
    """What follows logs, a step at a time."""

    def advance(self) -> bool:
        """Do what there is to do next; False when there was nothing."""

    def check(self) -> None:
        """Look from time to time whether it can go on; raises a BeamlineError where it cannot."""

    def unfinished(self) -> bool:
        """Tell whether something remains to be done, or may come of runs that are being measured."""

    def status(self) -> list[dict[str, Any]]:
        """Report of each run that is not done: uid, documents, errors, given_up, error."""

    def done(self) -> int:
        """Count what it has brought to an end."""

    def close(self) -> None:
        """Close its files."""


@dataclass(frozen=True)
class Kind:
    """A kind of process, of which there is one for a data folder.

    Attributes
    ----------
    name : str
        Of its lock, its status file and its log.
    does : str
        As in "the process that ...".
    work : callable
        Called with the data folder; gives the worker. Imports what it needs, which takes seconds.
    gather : float
        s that more documents are waited for after the first.
    is_done : callable
        Called with data folder and uid of a run; tells whether its part is done. Raises LogError where there is no log.
    waiting : callable
        Called with the data folder; gives the number of runs that are not done.
    lack : str
        What a run is without it, as in "run x ...".
    remedy : str
        What can be done about it.
    """

    name: str
    does: str
    work: Callable[[Path], Worker]
    gather: float
    is_done: Callable[[Path, str], bool]
    waiting: Callable[[Path], int]
    lack: str
    remedy: str

    @property
    def process(self) -> str:
        """What messages call it."""
        return f"the process that {self.does}"


def ingester(data_dir: Path, only: Collection[str] | None = None) -> Worker:
    """Make what fills the catalogue: with these runs only, by their uids, or with all."""
    from beamline.storage.catalogue.ingest import Ingester  # noqa: PLC0415

    return Ingester(data_dir, only=only)


def _reduction(data_dir: Path) -> Worker:
    from beamline.processes.reduction import Reduction  # noqa: PLC0415

    return Reduction(data_dir)


def _live_picture(data_dir: Path) -> Worker:
    from beamline.processes.live_picture import LivePicture  # noqa: PLC0415

    return LivePicture(data_dir)


def _is_in_catalogue(data_dir: Path, uid: str) -> bool:
    return is_ingested(find_log(data_dir, uid))


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            REDUCTION,
            "reduces",
            _reduction,
            gather=0.002,
            is_done=is_reduced,
            waiting=lambda data_dir: len(unreduced(data_dir)),
            lack="is not reduced",
            remedy="its data are in its log, `beamline recover` reduces it",
        ),
        Kind(
            INGEST,
            "fills the catalogue",
            ingester,
            gather=0.05,
            is_done=_is_in_catalogue,
            waiting=lambda data_dir: len(Layout(data_dir).pending_logs()),
            lack="is not in the catalogue",
            remedy="its data are in its log, `beamline recover` takes it in",
        ),
        Kind(
            PICTURE,
            "draws the live picture",
            _live_picture,
            gather=0.2,
            is_done=lambda _data_dir, _uid: True,
            waiting=lambda _data_dir: 0,
            lack="is not drawn",
            remedy="",
        ),
    )
}
