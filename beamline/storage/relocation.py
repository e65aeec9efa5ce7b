"""Find the files that the documents of a run refer to, also where the data folder was moved; tell what is missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from beamline.storage.layout import Layout, data_folder_of, is_regular
from beamline.storage.log import Doc, Document, read_log
from callbacks.external import file_of_uri, file_uri, open_hdf5, said_by_hdf5

HDF5_SUFFIXES = (".h5", ".hdf5")


def read_run(log: Path) -> Iterator[Document]:
    """Read a log up to its last complete document, with the files it refers to where they are now.

    Yields
    ------
    name, document
        In the order they were emitted; event and datum pages are not unpacked.
    """
    return relocated(read_log(log), data_folder_of(log.absolute()))


def relocated(documents: Iterable[Document], data_dir: Path) -> Iterator[Document]:
    """Let the documents of a run refer to the files of this data folder.

    Parameters
    ----------
    documents : iterable of (name, document)
    data_dir : Path
        Absolute path of the data folder that the run is in.

    Yields
    ------
    name, document
        Resources and stream_resources name the file as `current_path` finds it.
    """
    for name, doc in documents:
        yield name, relocate(name, doc, data_dir)


def relocate(name: str, doc: Doc, data_dir: Path) -> Doc:
    """Let one document refer to the files of this data folder; see `relocated`."""
    before = file_of(name, doc)
    if before is None or (path := current_path(before, data_dir)) == before:
        return doc
    if name == "resource":
        return {**doc, "root": "/", "resource_path": str(path)[1:]}
    return {**doc, "uri": file_uri(path)}


def unreadable_files(documents: Iterable[Document]) -> list[str]:
    """Name the files that the documents of a run refer to and that cannot be read, each with the reason."""
    files = dict.fromkeys(path for name, doc in documents if (path := file_of(name, doc)) is not None)
    return [f"{path}: {reason}" for path in files if (reason := why_unreadable(path))]


def why_unreadable(path: Path) -> str:
    """Say why a file that a run refers to cannot be read; empty if it can be opened."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing, though runs refer to it"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if path.suffix not in HDF5_SUFFIXES:
        return ""
    try:
        with open_hdf5(path):
            return ""
    except OSError as error:
        if error.errno == errno.EAGAIN:  # it is open in a process that writes to it
            return ""
        return f"cannot be read: {said_by_hdf5(error)}"


def file_of(name: str, doc: Doc) -> Path | None:
    """Give the file that a document names; None if it names none, as one of a foreign log may not."""
    path = None
    match name, doc:
        case "resource", {"resource_path": str(relative)}:
            path = Path(str(doc.get("root", "")), relative)
        case "stream_resource", {"uri": str(uri)} if uri.startswith("file:"):
            with suppress(ValueError):  # not a URI
                path = file_of_uri(uri)
    return None if path is None or "\0" in str(path) else path


def current_path(path: Path, data_dir: Path) -> Path:
    """Find where a file is now that was in a data folder when it was written.

    Parameters
    ----------
    path : Path
        As a document names it.
    data_dir : Path
        Absolute path of the data folder that the document is in.

    Returns
    -------
    Path
        The path itself if it is in the data folder. Otherwise the file of the same name in the data folder's own
        folder of frames or of derived runs, if there is one: the data folder was moved, copied or linked to. So it is
        where there is none, if the path is in another data folder: a copy that lacks a file does not take that of the
        original, which is another's. Otherwise the path as it is.
    """
    if ".." in path.parts or path.is_relative_to(data_dir):
        return path
    layout = Layout(data_dir)
    missing: Path | None = None
    for folder in (layout.frames, layout.derived):
        for depth, part in reversed(list(enumerate(path.parts))):
            if part == folder.name:
                here = folder.joinpath(*path.parts[depth + 1 :])
                if is_regular(here):
                    return here
                if missing is None and Layout(Path(*path.parts[:depth])).logs.is_dir():
                    missing = here
    real = Path(os.path.realpath(path))
    real_folder = data_dir.resolve()
    if real.is_relative_to(real_folder):
        return data_dir / real.relative_to(real_folder)
    return missing or path
