"""Write damaged logs again from the catalogue, where that holds the whole run."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.storage.catalogue.documents import documents, lost_events
from beamline.storage.catalogue.find import open_catalog, resolve_run
from beamline.storage.layout import Layout, unused_name
from beamline.storage.log import FORMAT, Document, is_being_written, pack


class Restorer:
    """Restores the damaged logs of a data folder, as long as its catalogue can be opened.

    Parameters
    ----------
    data_dir : Path
        The data folder.

    Attributes
    ----------
    restored : list of str
        Uids of the runs whose logs have been written again.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.restored: list[str] = []

    def __call__(self, path: Path) -> bool:
        """Write a damaged log again; the damaged one is kept beside it as ``<uid>.log.damaged``.

        Returns
        -------
        bool
            False where that is not possible; the log is then unchanged.
        """
        if self._catalogue is None or is_being_written(path):
            return False
        try:
            found = list(documents(resolve_run(self._catalogue, path.stem)))
        except BeamlineError:  # it has no such run, or cannot give it
            return False
        if not _is_whole(found, path.stem):
            return False
        new = path.with_name(f".{path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(FORMAT)
                file.writelines(pack(name, doc) for name, doc in found)
                file.flush()
                os.fsync(file.fileno())
            os.link(path, unused_name(path, ".damaged"))
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            return False
        self.restored.append(path.stem)
        return True

    @cached_property
    def _catalogue(self) -> Any:
        """Open the catalogue; None where there is none that can be opened."""
        if not Layout(self._data_dir).catalogue.exists():
            return None
        try:
            return open_catalog(self._data_dir)
        except BeamlineError:
            return None


def _is_whole(found: list[Document], uid: str) -> bool:
    """Tell whether these are all documents of a run: the catalogue may have been filled from a damaged log."""
    name, last = found[-1]
    return found[0][1]["uid"] == uid and name == "stop" and "num_events" in last and not lost_events(found)
