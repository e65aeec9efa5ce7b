"""Store derived runs: their documents in logs like those of raw runs, their large arrays in HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from beamline.storage.large_arrays import LargeArrays
from beamline.storage.layout import Layout
from beamline.storage.recorder import Recorder


class DerivedRuns:
    """Store the derived runs that a reduction emits: documents in logs, large arrays in HDF5.

    Callable with (name, document).

    Parameters
    ----------
    data_dir : Path
        The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._layout = Layout(data_dir)
        self._recorder = Recorder(data_dir)
        self._arrays = LargeArrays(data_dir)
        self._resumed: set[str] = set()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Store the next document."""
        for document in self._arrays(name, doc):
            self._settle()
            self._recorder(*document)

    def resume(self, uid: str) -> None:
        """Go on with a run that a process was storing when it died; it is emitted again from its beginning.

        What is stored already is passed over, but for the file of large arrays: it may have been torn, is written anew,
        and takes the other's place when all that was stored has been emitted.

        Raises
        ------
        RecorderError
            When its log cannot be gone on with.
        """
        self._recorder.resume(uid)
        self._arrays.write_anew(uid)
        self._resumed.add(uid)

    def drop(self, uid: str) -> None:
        """Remove what is stored of a run that is made anew under the same uid."""
        if (path := self._layout.find_log(uid)) is not None:
            path.unlink(missing_ok=True)
        self._arrays.drop(uid)

    def close(self) -> None:
        """Close the logs."""
        self._recorder.close()

    def _settle(self) -> None:
        """Put files of large arrays in their places that hold by now what was stored before."""
        for uid in [uid for uid in self._resumed if not self._recorder.passes_over(uid)]:
            self._arrays.settle(uid)
            self._resumed.discard(uid)
