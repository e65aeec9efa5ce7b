"""Find and read the runs of a data folder from their logs, and from the catalogue where a log is damaged."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from beamline.errors import BeamlineError
from beamline.storage.joined import joined
from beamline.storage.large_arrays import internalise
from beamline.storage.layout import Layout, is_ingested
from beamline.storage.log import Doc, Document, LogError, LogReader, is_being_written, read_start
from beamline.storage.relocation import relocated
from beamline.storage.results import EXTERNAL_FIELDS, FIELDS, DocumentsError, Run, checked, collect
from callbacks.contract import CONTINUES, DERIVATION, Stream, reduction_of

logger = logging.getLogger(__name__)

SHOWN_OF_UID = 8  # characters
OF_REDUCTION = "the reduction "  # what a problem of a raw run begins with that says why there is no reduction to show


@dataclass(frozen=True)
class Entry:
    """A run in the list of runs: the path of its log and its start document."""

    path: Path
    start: dict[str, Any]

    @property
    def uid(self) -> str:
        """The run's uid."""
        return str(self.start["uid"])

    @property
    def raw_uids(self) -> list[str]:
        """Uids of the runs that a derived run was made from; empty for a raw run."""
        match self.start.get(DERIVATION):
            case {"raw_uids": list(uids)}:
                return [str(uid) for uid in uids]
        return []

    @property
    def reduction_of(self) -> str:
        """Uid of the raw run that this is the reduction of; empty for a raw run and for a pooled analysis."""
        return reduction_of(self.start)

    @property
    def pipeline(self) -> str:
        """What a derived run was made by; empty for a raw run."""
        match self.start.get(DERIVATION):
            case {"pipeline": str(pipeline)}:
                return pipeline
        return ""

    @property
    def is_pooled(self) -> bool:
        """Whether this is a pooled analysis: made of raw runs, and the reduction of none."""
        return bool(self.raw_uids) and not self.reduction_of


class Runs:
    """The runs of a data folder.

    Parameters
    ----------
    data_dir : Path
        The folder; it need not exist yet.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self._unreadable: dict[Path, Doc | None] = {}  # logs without a start document -> that in the catalogue

    def entries(self) -> list[Entry]:
        """List all runs, oldest first; a log that cannot be read is skipped with a warning."""
        found: dict[str, Entry] = {}
        for path in Layout(self.data_dir).all_logs():
            if (start := self._start(path)) is not None:
                found.setdefault(start["uid"], Entry(path, start))
        return sorted(found.values(), key=lambda entry: entry.start["time"])

    def raw(self) -> list[Entry]:
        """List the measured and imported runs, oldest first."""
        return [entry for entry in self.entries() if not entry.raw_uids]

    def find(self, name: str) -> Entry:
        """Find a raw run.

        Parameters
        ----------
        name : str
            A uid, the unique beginning of one (eight characters, where all are digits), a scan id (the newest run
            that has it), or -1, -2, ... for the newest runs.

        Raises
        ------
        BeamlineError
            When no run matches, or more than one; where a derived run does, it is said what that is.
        """
        all_entries = self.entries()
        entries = [entry for entry in all_entries if not entry.raw_uids]
        if not entries:
            raise BeamlineError(f"no runs in {self.data_dir}")
        if name.startswith("-") and name[1:].isdigit():
            if not 1 <= -int(name) <= len(entries):
                raise BeamlineError(f"run {name}: there are only {len(entries)} runs in {self.data_dir}")
            return entries[int(name)]
        by_scan_id = [entry for entry in entries if name.isdigit() and entry.start.get("scan_id") == int(name)]
        if by_scan_id:
            if others := len(by_scan_id) - 1:
                one = "another run has" if others == 1 else f"{others} other runs have"
                logger.warning("run %s: %s this scan id, too; this is the newest, %s", name, one, by_scan_id[-1].uid)
            return by_scan_id[-1]
        is_scan_id = _names_a_scan(name, entries)  # which no run has, and some run's uid may well begin with
        matching = [entry for entry in entries if name and not is_scan_id and entry.uid.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            reason = f"{len(matching)} runs have a uid that starts with this in {self.data_dir}"
        else:
            reason = _what_it_is(name, all_entries) or f"no run has this uid or scan id in {self.data_dir}"
        raise BeamlineError(f"run {name}: {reason}")

    def find_pooled(self, name: str) -> Entry | None:
        """Find a pooled analysis by its uid or the unique beginning of it; None where that names a raw run, or nothing.

        Raises
        ------
        BeamlineError
            When there are several.
        """
        entries = self.entries()
        found = [entry for entry in entries if name and entry.uid.startswith(name)]
        if _names_a_scan(name, entries) or not all(entry.raw_uids for entry in found):
            return None
        pooled = [entry for entry in found if entry.is_pooled]
        if len(pooled) > 1:
            raise BeamlineError(f"{name}: {len(pooled)} pooled analyses have a uid that starts with this")
        return pooled[0] if pooled else None

    def load(self, entry: Entry) -> Run:
        """Read a run: a derived run with all its arrays, a raw run without its camera frames.

        What could not be read is in `Run.problems`.

        Raises
        ------
        BeamlineError
            When its documents cannot be read, or do not fit together, as those of a foreign log may.
        """
        documents, problems = self._read_joined(entry)
        try:
            if entry.raw_uids:
                run = collect(internalise(checked(documents, FIELDS | EXTERNAL_FIELDS)))
            else:
                run = collect(checked(documents, FIELDS))
            _ = run.derivation
        except (DocumentsError, ValidationError) as error:  # damage leaves documents out, and changes none
            what = " ".join(str(error).split())
            raise BeamlineError(f"run {entry.uid}: its documents do not fit together: {what}") from error
        run.problems[:0] = problems
        return run

    def documents(self, entry: Entry) -> list[Document]:
        """Read the documents of a run as they were emitted, as far as they can be read; see `load`.

        Those of a run that goes on with others are preceded by theirs; see `beamline.storage.joined`.
        """
        return self._read_joined(entry)[0]

    def _start(self, path: Path) -> Doc | None:
        """Read the start document of a log, or take it from the catalogue; None if it is in neither."""
        if path not in self._unreadable:
            try:
                return read_start(path)
            except LogError as error:
                if not path.exists():  # its run was completely ingested since the folder was listed
                    moved = Layout(self.data_dir).find_log(path.stem)
                    return read_start(moved) if moved else None
                self._unreadable[path] = self._start_in_catalogue(path, error)
        return self._unreadable[path]

    def _start_in_catalogue(self, path: Path, error: LogError) -> Doc | None:
        if is_ingested(path):
            try:
                start = dict(self._run_in_catalogue(path.stem).metadata["start"])
            except BeamlineError as reason:
                logger.warning("%s; skipped, as the catalogue does not have it: %s", error, reason)
            else:
                logger.warning("%s; the catalogue's copy is used", error)
                return start
        else:
            logger.warning("%s; skipped", error)
        return None

    def _read_joined(self, entry: Entry) -> tuple[list[Document], list[str]]:
        """Read the documents of a run, with those of the runs that it goes on with; tell what cannot be read."""
        documents, problems = self._read(entry)
        if CONTINUES not in entry.start:
            return documents, problems

        def earlier(uid: str) -> list[Document]:
            found, more = self._read(self.find(uid))
            problems.extend(more)
            return found

        return list(joined(documents, earlier)), problems

    def own_documents(self, entry: Entry) -> list[Document]:
        """Read the documents of a run without those of the runs that it goes on with."""
        return self._read(entry)[0]

    def _read(self, entry: Entry) -> tuple[list[Document], list[str]]:
        """Read the documents of a run, from the catalogue where its log is damaged; tell what cannot be read."""
        path = entry.path if entry.path.exists() else Layout(self.data_dir).find_log(entry.uid) or entry.path
        try:
            written = is_being_written(path)
            with LogReader(path) as reader:
                documents = list(relocated(reader, self.data_dir))
                if not written:
                    reader.torn()
        except LogError as error:
            return self._copy_in_catalogue(entry, [], str(error))
        if reader.damage:
            what = f"the log {path} is {', '.join(str(damage) for damage in reader.damage)}"
        elif is_ingested(path) and documents[-1][0] != "stop":
            what = f"the log {path} ends at byte {reader.end}, without its stop document"
        else:
            return documents, []
        if is_ingested(path):
            return self._copy_in_catalogue(entry, documents, what)
        return documents, [f"{what}; what can be read is used"]

    def _copy_in_catalogue(self, entry: Entry, readable: list[Document], what: str) -> tuple[list[Document], list[str]]:
        from beamline.storage.catalogue import documents as catalogued  # noqa: PLC0415 - for damaged logs only

        try:
            documents = list(catalogued.documents(self._run_in_catalogue(entry.uid)))
        except BeamlineError as error:
            if not readable:
                raise BeamlineError(
                    f"run {entry.uid}: {what}; nor can it be read from the catalogue: {error}"
                ) from error
            return readable, [f"{what}, and the catalogue does not have it: {error}; what can be read is used"]
        lacks = ", ".join(catalogued.lost_events(documents))
        return documents, [f"{what}; the catalogue's copy is used{lacks and f', which lacks {lacks}'}"]

    def _run_in_catalogue(self, uid: str) -> Any:
        from beamline.storage.catalogue.find import resolve_run  # noqa: PLC0415 - for damaged logs only

        return resolve_run(self._catalogue, uid)

    @cached_property
    def _catalogue(self) -> Any:
        from beamline.storage.catalogue.find import open_catalog  # noqa: PLC0415 - it takes seconds

        return open_catalog(self.data_dir)

    def derived(self, raw: Entry) -> Entry | None:
        """Find the newest reduction of a raw run; None if it has not been reduced."""
        return next((entry for entry in reversed(self.entries()) if entry.reduction_of == raw.uid), None)

    def derived_uid(self, raw_uid: str) -> str:
        """Return the uid of the newest reduction of a raw run.

        Raises
        ------
        BeamlineError
            When it has not been reduced.
        """
        derived = self.derived(self.find(raw_uid))
        if derived is None:
            raise BeamlineError(f"run {raw_uid} has not been reduced")
        return derived.uid

    def load_with_derived(self, name: str) -> tuple[Run, Run | None]:
        """Read a raw run found by name, and its newest reduction that has a result (or None).

        What could not be read, of an earlier reduction too, is in `Run.problems` of the raw run.
        """
        found = self.find(name)
        raw, unreadable = self.load(found), []
        for entry in reversed(self.entries()):
            if entry.reduction_of != found.uid:
                continue
            try:
                derived = self.load(entry)
            except BeamlineError as error:
                unreadable.append(f"{OF_REDUCTION}{entry.uid[:8]} cannot be read: {error}")
                continue
            if Stream.RESULT in derived.streams:
                raw.problems += [*derived.problems, *unreadable]
                return raw, derived
            unreadable += [f"{OF_REDUCTION}{entry.uid[:8]} has no result: {problem}" for problem in derived.problems]
        raw.problems += unreadable
        return raw, None


def _what_it_is(name: str, entries: list[Entry]) -> str:
    """Say what the derived run of such a name is; "" where there is not exactly one."""
    found = [entry for entry in entries if name and entry.uid.startswith(name)]
    if _names_a_scan(name, entries) or len(found) != 1:
        return ""
    if found[0].is_pooled:
        return f"is a pooled analysis of {len(found[0].raw_uids)} runs, which `beamline show` shows; expected a raw run"
    return f"is a reduction of run {found[0].reduction_of}; expected a raw run"


def _names_a_scan(name: str, entries: list[Entry]) -> bool:
    """Tell whether a name is a scan id, also one that no run has: a number shorter than what is shown of a uid."""
    if not name.isdigit():
        return False
    return len(name) < SHOWN_OF_UID or any(entry.start.get("scan_id") == int(name) for entry in entries)
