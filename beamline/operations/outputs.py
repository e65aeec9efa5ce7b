"""Where commands write for the user: a file or folder that is there whole or not at all, and errors of one line."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from callbacks.external import FrameReadError

if TYPE_CHECKING:
    from beamline.report.style import FigureStyle, Print

THERE = "is there already; expected another name, or --overwrite"  # what is said of a file that is not replaced
PAGE_ENDINGS = (".html", ".htm")
_OF_HDF5 = re.compile(r"error message = '(?P<reason>[^']+)'")


@contextmanager
def new_file(path: Path, data_dir: Path, *, overwrite: bool) -> Iterator[Path]:
    """Write a file beside its place, and move it there once it is whole; its folder is made where there is none.

    Parameters
    ----------
    path : Path
        Of a symbolic link, the file that it names.
    data_dir : Path
        The data folder, whose own files are never replaced.
    overwrite : bool
        Whether a file that is there is replaced.

    Yields
    ------
    Path
        The file to write.

    Raises
    ------
    BeamlineError
        When it cannot be written: the path is none, of a folder or a device, or in a part of the data folder that
        holds data, there is a file that is not to be replaced, or the disk is full; one line. Nothing is left then, and
        a file that was there before is as it was.
    """
    with _one_line(path):
        _spare_data(path, data_dir)
        target = _target(path)
        if target.exists() and not target.is_file():
            raise BeamlineError(f"{path}: is {_kind(target)}, expected a file")
        if target.exists() and not overwrite:
            raise BeamlineError(f"{path}: {THERE}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _beside(target)
        part.touch()  # where this cannot be, it is said before the work is done
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def new_page(path: Path, data_dir: Path, *, overwrite: bool) -> Iterator[Path]:
    """Write the page of a report as `new_file` does, to a name that says that it is one.

    Raises
    ------
    BeamlineError
        As `new_file`; where `path` ends as no HTML page does.
    """
    check_page(path, data_dir)
    with new_file(path, data_dir, overwrite=overwrite) as part:
        yield part


def check_page(path: Path, data_dir: Path) -> None:
    """Refuse what cannot be the name of a report; `BeamlineError` as of `new_page`."""
    with _one_line(path):
        _spare_data(path, data_dir)
    if path.suffix.lower() not in PAGE_ENDINGS:
        raise BeamlineError(
            f"{path}: a report is an HTML page; expected a name ending in {' or '.join(PAGE_ENDINGS)}"
            " (figures as PDF, SVG or PNG: --figures FOLDER --figure-format FORMAT)"
        )


@contextmanager
def new_files(folder: Path, data_dir: Path, *, overwrite: bool) -> Iterator[Path]:
    """Write the files of a folder beside their place, and move them there once all are whole.

    Parameters
    ----------
    folder : Path
        Made where there is none; other files in it stay.
    data_dir, overwrite : Path, bool
        As for `new_file`.

    Yields
    ------
    Path
        The folder to write to.

    Raises
    ------
    BeamlineError
        As `new_file`.
    """
    with _one_line(folder):
        _spare_data(folder, data_dir)
        target = _target(folder)
        if target.exists() and not target.is_dir():
            raise BeamlineError(f"{folder}: is {_kind(target)}, expected a folder")
        is_new = not target.exists()
        target.mkdir(parents=True, exist_ok=True)
        part = _beside(target / "files")
        part.mkdir()
        try:
            yield part
            for file in sorted(part.iterdir()):
                if (target / file.name).is_dir():
                    raise BeamlineError(f"{folder / file.name}: is a folder, expected a file")
                if (target / file.name).exists() and not overwrite:
                    raise BeamlineError(f"{folder / file.name}: {THERE}")
            for file in sorted(part.iterdir()):
                file.replace(target / file.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # it holds files
                    target.rmdir()


@contextmanager
def printed(
    figures: Path | None, style: FigureStyle | None, data_dir: Path, *, overwrite: bool
) -> Iterator[Print | None]:
    """Give where the figures of a report are written for print: in a folder as of `new_files`, or nowhere.

    Parameters
    ----------
    figures : Path or None
        The folder; None for nowhere.
    style : FigureStyle or None
        Its own defaults where not given.
    data_dir : Path
        As for `new_file`.
    overwrite : bool
        Whether there may be figures already, which are replaced by those of the same name.

    Raises
    ------
    BeamlineError
        As `new_file`; where there are figures, before any is drawn.
    """
    if figures is None:
        yield None
        return
    if not overwrite and (there := next(iter(sorted(figures.glob("[0-9][0-9]-*"))), None)) is not None:
        raise BeamlineError(f"{there}: {THERE}")
    from beamline.report.style import FigureStyle, Print  # noqa: PLC0415 - matplotlib takes time to import

    with new_files(figures, data_dir, overwrite=overwrite) as folder:
        yield Print(folder, style or FigureStyle())


def reason_of(error: Exception) -> str:
    """Say in a few words why a file cannot be read or written."""
    if found := _OF_HDF5.search(str(error)):
        return found["reason"]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    if not str(path) or "\0" in str(path):
        raise BeamlineError(f"{str(path)!r}: is not the path of a file or folder")
    try:
        yield
    except FrameReadError:  # of what is read for it
        raise
    except FileExistsError as error:  # of a folder that is to be made
        raise BeamlineError(f"{os.fsdecode(error.filename)}: is a file, expected a folder") from error
    except (OSError, RuntimeError) as error:  # HDF5 raises the second where it cannot close a file on a full disk
        if isinstance(error, RuntimeError) and not _OF_HDF5.search(str(error)):
            raise
        other = error.filename if isinstance(error, OSError) else None
        named = path if other is None or Path(os.fsdecode(other)).name.startswith(_PART) else os.fsdecode(other)
        raise BeamlineError(f"{named}: cannot be written: {reason_of(error)}") from error


_PART = ".beamline-"  # what names begin with, of files that are being written


def _beside(target: Path) -> Path:
    return target.with_name(f"{_PART}{uuid.uuid4().hex[:12]}.part")


def _target(path: Path) -> Path:
    """Follow symbolic links; `BeamlineError` where one leads nowhere."""
    target = Path(os.path.realpath(path))
    if path.is_symlink() and not target.exists():
        raise BeamlineError(f"{path}: is a symbolic link to {target}, which does not exist")
    return target


def _spare_data(path: Path, data_dir: Path) -> None:
    """Refuse to write where the data folder keeps data."""
    layout = Layout(data_dir)
    if part := layout.part_with(path):
        where = "is" if os.path.realpath(path) == os.path.realpath(part) else "lies in"
        raise BeamlineError(
            f"{path}: {where} {part}, where data are kept, which an output must not replace;"
            f" expected another place, such as {layout.reports}"
        )


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a file" if path.is_file() else "a device or pipe"
