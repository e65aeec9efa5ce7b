"""What a catalogue's databases are asked, whichever they are: SQLite in the data folder, or PostgreSQL on a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from beamline.storage.catalogue.exact import NO_LIMITS, JsonLimits

DatasetId = tuple[str, str]  # name of a table, and which of its rows: a table is shared by runs of the same columns
Row = tuple[Any, ...]
Rows = Callable[..., Iterator[Row]]  # given a statement and the values of its question marks
Initialise = Callable[[str], None]  # makes the tables of an empty catalogue in the database that a URI names

LOCK_TIMEOUT = 5.0  # s to wait for another program that has a database to itself, or for a server


class Claim(Protocol):
    """What keeps other processes from filling a catalogue, as long as it is held."""

    def check(self) -> None:
        """Make sure that it is still held; CatalogueServerError where it cannot be."""

    def close(self) -> None:
        """Give it up."""


class Database(ABC):
    """The databases of a catalogue: that of its runs, and that of the tables of their events.

    Attributes
    ----------
    runs, tables : object
        What messages call the two.
    limits : JsonLimits
        What their JSON can hold.
    """

    runs: object
    tables: object
    limits: JsonLimits = NO_LIMITS

    @abstractmethod
    def check(self, catalogue_id: str) -> None:
        """Check that the databases are there, and are those of this catalogue.

        Raises
        ------
        CatalogueError
            When they cannot be used now; `DamagedCatalogueError` when they have to be made anew.
        """

    @abstractmethod
    def opened(self, text: type = str) -> AbstractContextManager[Rows]:
        """Open the database of runs for questions; texts are given as `text`, which bytes can hold also if damaged.

        Raises
        ------
        CatalogueError
            When it cannot be read; `DamagedCatalogueError` when it is damaged.
        """

    @abstractmethod
    def text_of(self, column: str, *keys: str) -> str:
        """Give the SQL for the text of what lies at these keys in a column of JSON."""

    @abstractmethod
    def names(self) -> set[str]:
        """Give the names of the tables in the database of runs; raises as `opened`."""

    @abstractmethod
    def names_of_tables(self) -> set[str]:
        """Give the names of the tables of events; raises as `opened`."""

    @abstractmethod
    def check_pages(self, tables: Iterable[str]) -> None:
        """Read everything, for damage that nothing else meets; `tables` are those of the database of runs."""

    @abstractmethod
    def crc_of_rows(self, datasets: Mapping[str, Iterable[DatasetId]]) -> dict[DatasetId, int]:
        """Compute the checksum of each dataset's rows, in one pass through each table; `datasets` are those of runs."""

    @abstractmethod
    def create(self, folder: Path, data_dir: Path, catalogue_id: str, initialise: Initialise) -> None:
        """Make the databases of an empty catalogue, whose other files lie in `folder`; any before are kept aside."""

    @abstractmethod
    def uris(self, catalogue_id: str) -> tuple[str, str]:
        """Give the URIs by which Tiled opens the two."""

    @abstractmethod
    def claim(self) -> Claim:
        """Claim to be the one process that fills the catalogue; CatalogueServerError where another is."""
