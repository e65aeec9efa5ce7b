"""Groups and datasets of an HDF5 file of another program, each checked when it is reached and before it is read.

A file can be damaged in any byte, hold anything under any name, claim any size, and refer to other files. Whatever of
it cannot be used is a ValueError that names the object and what was seen; nothing of h5py's comes through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.hdf5_heaps import check_heaps
from beamline.formats.importers.inside import LARGEST_TEXT, check_points, inside, size_of, unreadable
from beamline.formats.text import decode, one_line, quoted
from beamline.text import clean
from callbacks.external import said_by_hdf5

FloatArray = NDArray[np.floating]

# What h5py raises on damaged files and on types that numpy does not have.
H5PY_ERRORS = (OSError, RuntimeError, LookupError, TypeError, ValueError, OverflowError, AttributeError, MemoryError)
MOST_LINKS = 20  # that lead from one to the other
MOST_TEXTS = 1000  # in an attribute or a dataset
LARGEST_CHUNK = 1 << 24  # values; or some times those of the dataset: HDF5 takes memory for whole chunks


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what h5py raises into a ValueError that names the object."""
    try:
        yield
    except H5PY_ERRORS as error:
        raise ValueError(f"{name}: cannot be read: {one_line(said_by_hdf5(error))}") from error


@contextmanager
def open_hdf5(path: Path, problems: list[str]) -> Iterator[Group]:
    """Open a file and give its root.

    Parameters
    ----------
    path : Path
    problems : list of str
        Receives what is passed over, because it cannot be read and is not needed.

    Raises
    ------
    BeamlineError
        When there is no such file, or it is not of HDF5.
    """
    with _Files(path.parent, problems) as files:
        yield files.open(path)


class _Files:
    """The files of an import, closed together."""

    def __init__(self, folder: Path, problems: list[str]) -> None:
        self.folder = folder
        self.problems = problems
        self._open: dict[Path, Group] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, path: Path) -> Group:
        """Open a file, or give the root of one that is open."""
        if path not in self._open:
            try:
                size_of(path)
                check_heaps(path)
                with _reading(path.name):
                    file = self._stack.enter_context(h5py.File(path, "r"))
            except (ValueError, OSError) as error:
                raise BeamlineError(unreadable(path, error)) from error
            self._open[path] = Group("", file, self)
        return self._open[path]

    def named(self, name: str, by: _Item, label: str) -> Group:
        """Open a file that a link or a dataset, of this label, names relative to the file that it is in."""
        own = Path(by.item.file.filename)
        if "\\" in name or "%" in name:  # HDF5 takes the former as it is, and the latter for a pattern
            raise BeamlineError(f"{own}: {label}: names {quoted(name)}, expected the plain name of a file")
        inside(self.folder, str(own.parent / name), named_by=f"{own}: {label}")
        return self.open(own.parent / name)


@dataclass(frozen=True)
class _Item:
    """An object of a file, with its path, which begins with a slash, and the attributes it has."""

    name: str
    item: Any
    files: _Files = field(repr=False)

    @property
    def label(self) -> str:
        """The path as it is printed."""
        return clean(self.name) or "/"

    def attribute(self, name: str) -> Any:
        """Return the value of an attribute; None where there is none.

        Raises
        ------
        ValueError
            When it cannot be read, or is too large.
        """
        label = f"{self.label} attribute {name}"
        with _reading(label):
            if name not in self.item.attrs:
                return None
            shape = self.item.attrs.get_id(name).shape
        if math.prod(shape or ()) > MOST_TEXTS:
            raise ValueError(f"{label}: shape {shape}, expected at most {MOST_TEXTS} values")
        with _reading(label):
            return self.item.attrs[name]

    def text_attribute(self, name: str) -> str:
        """Return an attribute as text; "" where there is none."""
        return text_of(self.attribute(name))


class Group(_Item):
    """A group."""

    def names(self) -> list[str]:
        """List what is in the group."""
        with _reading(self.label):
            return list(self.item)

    def get(self, path: str) -> Group | Field | None:
        """Return what lies under a path; None if it does not exist.

        Raises
        ------
        ValueError
            When it cannot be read, or a link on the way leads nowhere or in a circle.
        BeamlineError
            When a link on the way leads out of the folder of the file.
        """
        return self._follow(path, 0)

    def __contains__(self, path: str) -> bool:
        return self.get(path) is not None

    def group(self, path: str) -> Group | None:
        """Return a group; None if there is none of this name, ValueError if it is something else."""
        found = self.get(path)
        if isinstance(found, Field):
            raise ValueError(f"{found.label}: a dataset, expected a group")
        return found

    def field(self, path: str) -> Field | None:
        """Return a dataset; None if there is none of this name, ValueError if it is something else."""
        found = self.get(path)
        if isinstance(found, Group):
            raise ValueError(f"{found.label}: a group, expected a dataset")
        return found

    def text(self, path: str) -> str:
        """Return a dataset as text; "" if there is none."""
        found = self.field(path)
        return "" if found is None else found.text()

    def is_class(self, nexus_class: str) -> bool:
        """Tell whether it is a group of a NeXus class."""
        return self.text_attribute("NX_class") == nexus_class

    def children(self, nexus_class: str) -> list[Group]:
        """List the groups of a NeXus class in the group; what cannot be read goes to the problems."""
        found = []
        for name in self.names():
            try:
                child = self._follow(name, 0)
                if isinstance(child, Group) and child.is_class(nexus_class):
                    found.append(child)
            except ValueError as error:
                problem = f"{error}; left out"
                if problem not in self.files.problems:
                    self.files.problems.append(problem)
        return found

    def _follow(self, path: str, links: int) -> Group | Field | None:
        found: Group | Field | None = self
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if not isinstance(found, Group):
                return None
            found = found._step(part, links)  # noqa: SLF001 - of the same class
        return found

    def _step(self, part: str, links: int) -> Group | Field | None:
        name = f"{self.name}/{part}"
        with _reading(clean(name)):
            link = self.item.get(part, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.HardLink):
            with _reading(clean(name)):
                item = self.item[part]
            return self._wrapped(name, item)
        if links == MOST_LINKS:
            raise ValueError(f"{clean(name)}: a link of more than {MOST_LINKS}, which lead in a circle")
        found = self._target(link, clean(name))._follow(link.path, links + 1)  # noqa: SLF001 - of the same class
        if found is None:
            raise ValueError(f"{clean(name)}: a link to {quoted(link.path)}, which does not exist")
        return type(found)(name, found.item, self.files)

    def _target(self, link: Any, label: str) -> Group:
        """Return the group from which the path of a link counts."""
        if isinstance(link, h5py.ExternalLink):
            return self.files.named(link.filename, self, label)
        return Group("", self.item.file, self.files) if link.path.startswith("/") else self

    def _wrapped(self, name: str, item: Any) -> Group | Field:
        if isinstance(item, h5py.Group):
            return Group(name, item, self.files)
        if isinstance(item, h5py.Dataset):
            return Field(name, item, self.files)
        raise ValueError(f"{clean(name)}: neither a group nor a dataset")


class Field(_Item):
    """A dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; ValueError if it is one without values."""
        with _reading(self.label):
            shape = self.item.shape
        if shape is None:
            raise ValueError(f"{self.label}: empty, it has no value")
        return tuple(shape)

    @property
    def size(self) -> int:
        """Its number of values."""
        return math.prod(self.shape)

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self._kind() in "OSU"

    def numbers(self) -> FloatArray:
        """Read it as numbers, in its own shape.

        Raises
        ------
        ValueError
            When it holds something else, no value, or too many, or cannot be read.
        """
        size, kind = self.size, self._kind()
        if kind not in "iuf":
            raise ValueError(f"{self.label}: values of the type {self._type()}, expected numbers")
        if not size:
            raise ValueError(f"{self.label}: shape {self.shape}, expected at least one value")
        check_points(self.label, size)
        self._check_storage(size)
        with _reading(self.label):
            return np.asarray(self.item[()], dtype=float)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values; ValueError where numpy has none for it."""
        with _reading(self.label):
            found: np.dtype[Any] = np.dtype(self.item.dtype)
        return found

    def frames(self) -> Iterator[NDArray[Any]]:
        """Read its frames, those of the last two axes, one after the other.

        Raises
        ------
        ValueError
            When it has fewer axes, holds something else than numbers, or cannot be read.
        """
        shape = self.shape
        if len(shape) < 2 or self._kind() not in "iuf" or not self.size:
            raise ValueError(f"{self.label}: shape {shape} of the type {self._type()}, expected frames of numbers")
        self._check_storage(self.size)
        for place in np.ndindex(*shape[:-2]):
            with _reading(self.label):
                yield np.asarray(self.item[place])

    def number(self) -> float:
        """Read it as one number."""
        if self.size != 1:
            raise ValueError(f"{self.label}: shape {self.shape}, expected one number")
        return float(self.numbers().ravel()[0])

    def text(self) -> str:
        """Read it as text: the first of several."""
        size = self.size
        if self._kind() == "V" or size > MOST_TEXTS:
            raise ValueError(f"{self.label}: shape {self.shape} of the type {self._type()}, expected a text")
        if size * self.item.dtype.itemsize > LARGEST_TEXT:
            raise ValueError(
                f"{self.label}: {size * self.item.dtype.itemsize:,} bytes, expected at most {LARGEST_TEXT:,}"
            )
        self._check_storage(size)
        with _reading(self.label):
            return text_of(self.item[()])

    def raw_bytes(self, largest: int) -> bytes:
        """Read it as bytes, of a list of numbers from 0 to 255.

        Parameters
        ----------
        largest : int
            Number of them, at most.

        Raises
        ------
        ValueError
            When it is something else, or there are more.
        """
        size = self.size
        with _reading(self.label):
            is_bytes = self.item.dtype == np.uint8
        if not is_bytes or len(self.shape) != 1 or size > largest:
            raise ValueError(
                f"{self.label}: shape {self.shape} of the type {self._type()}, expected at most {largest:,} bytes"
            )
        self._check_storage(size)
        with _reading(self.label):
            return bytes(self.item[()])

    def texts(self, most: int) -> list[str]:
        """Read it as a list of texts, of which there are at most so many.

        Raises
        ------
        ValueError
            When it holds something else, or more, or cannot be read.
        """
        size = self.size
        if self._kind() not in "OSU" or len(self.shape) != 1 or size > most:
            raise ValueError(f"{self.label}: shape {self.shape} of the type {self._type()}, expected {most} texts")
        if size * self.item.dtype.itemsize > LARGEST_TEXT:
            raise ValueError(f"{self.label}: texts of {self.item.dtype.itemsize:,} bytes")
        self._check_storage(size)
        with _reading(self.label):
            return [text_of(one) for one in self.item[()]]

    def _kind(self) -> str:
        with _reading(self.label):
            return str(self.item.dtype.kind)

    def _type(self) -> str:
        return one_line(self.item.dtype)[:60]

    def _check_storage(self, size: int) -> None:
        """Refuse values that are kept in other files than this one, and chunks far larger than the dataset."""
        with _reading(self.label):
            external, virtual, chunks = self.item.external, self.item.is_virtual, self.item.chunks
        if external:
            names = ", ".join(clean(str(one[0])) for one in external[:3])
            raise BeamlineError(
                f"{self.files.folder}: {self.label}: its values are in another file ({names}), expected in this one"
            )
        if virtual:
            self._check_sources()
        if chunks and math.prod(chunks) > max(LARGEST_CHUNK, 4 * size):
            raise ValueError(f"{self.label}: chunks of {math.prod(chunks):,} values for {size:,}")

    def _check_sources(self) -> None:
        """Refuse a virtual dataset of which a source is missing, which HDF5 fills in silently, or is elsewhere."""
        with _reading(self.label):
            sources = {(one.file_name, one.dset_name) for one in self.item.virtual_sources()}
        for file, name in sorted(sources):
            root = Group("", self.item.file, self.files) if file == "." else self.files.named(file, self, self.label)
            made = f"{self.label}: made of {quoted(name)} in {quoted(file)}"
            try:
                source = root.field(name)
            except ValueError as error:
                raise ValueError(f"{made}: {error}") from error
            if source is None:
                raise ValueError(f"{made}, which does not exist")
            with _reading(made):
                plain = not (source.item.is_virtual or source.item.external)
            if not plain:
                raise ValueError(f"{made}, whose values are elsewhere again")


def text_of(value: Any) -> str:
    """Return a text, however HDF5 stores it; "" for none."""
    if value is None or isinstance(value, h5py.Empty):
        return ""
    flat = np.ravel(np.asarray(value, dtype=object))
    one = flat[0] if flat.size else ""
    if isinstance(one, str):  # h5py keeps bytes that are no UTF-8 as surrogates
        one = one.encode("utf-8", "surrogateescape") if not one.isascii() else one.encode()
    return (decode(bytes(one)) if isinstance(one, bytes) else str(one)).strip().strip("\0").strip()


def texts_of(value: Any) -> list[str]:
    """Return a list of texts, stored as an array or as one text separated by colons or commas."""
    if value is None or isinstance(value, h5py.Empty):
        return []
    words = [text_of(one) for one in np.ravel(np.asarray(value, dtype=object)).tolist()]
    return [part for word in words for part in word.replace(":", ",").split(",")]
