"""Find and read the runs of a data folder from their logs, without the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.storage.large_arrays import internalise
from beamline.storage.layout import Layout
from beamline.storage.log import read_log
from beamline.storage.results import Run, collect
from callbacks.contract import DERIVATION, Stream


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
        return list(self.start.get(DERIVATION, {}).get("raw_uids", ()))


class Runs:
    """The runs of a data folder.

    Parameters
    ----------
    data_dir : Path
        The folder; it need not exist yet.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()

    def entries(self) -> list[Entry]:
        """List all runs, oldest first."""
        found = []
        for path in Layout(self.data_dir).all_logs():
            name, start = next(iter(read_log(path)), ("", {}))
            if name == "start":
                found.append(Entry(path, start))
        return sorted(found, key=lambda entry: entry.start["time"])

    def raw(self) -> list[Entry]:
        """List the measured and imported runs, oldest first."""
        return [entry for entry in self.entries() if not entry.raw_uids]

    def find(self, name: str) -> Entry:
        """Find a raw run.

        Parameters
        ----------
        name : str
            A uid, the unique beginning of one, a scan id (the newest run that has it), or -1, -2, ... for the newest
            runs.

        Raises
        ------
        BeamlineError
            When no run matches, or more than one.
        """
        entries = self.raw()
        if not entries:
            raise BeamlineError(f"no runs in {self.data_dir}")
        if name.startswith("-") and name[1:].isdigit():
            if not 1 <= -int(name) <= len(entries):
                raise BeamlineError(f"run {name}: there are only {len(entries)} runs in {self.data_dir}")
            return entries[int(name)]
        by_scan_id = [entry for entry in entries if name.isdigit() and entry.start.get("scan_id") == int(name)]
        if by_scan_id:
            return by_scan_id[-1]
        matching = [entry for entry in entries if entry.uid.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        reason = (
            "no run has this uid or scan id"
            if not matching
            else f"{len(matching)} runs have a uid that starts with this"
        )
        raise BeamlineError(f"run {name}: {reason} in {self.data_dir}")

    def load(self, entry: Entry) -> Run:
        """Read a run: a derived run with all its arrays, a raw run without its camera frames."""
        documents = read_log(entry.path)
        return collect(internalise(documents) if entry.raw_uids else documents)

    def derived(self, raw: Entry) -> Entry | None:
        """Find the newest run that was derived from this raw run alone; None if it has not been reduced."""
        return next((entry for entry in reversed(self.entries()) if entry.raw_uids == [raw.uid]), None)

    def derived_uid(self, raw_uid: str) -> str:
        """Return the uid of the newest run that was derived from this raw run alone.

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
        """Read a raw run found by name, and the newest run derived from it alone that has a result (or None)."""
        raw = self.find(name)
        for entry in reversed(self.entries()):
            if entry.raw_uids == [raw.uid] and Stream.RESULT in (derived := self.load(entry)).streams:
                return self.load(raw), derived
        return self.load(raw), None
