"""Where the databases of a catalogue are: its data folder knows it, so that whoever opens it needs nothing else.

The configuration says it, by `[storage] catalogue`; it is written into the folder whenever a command is given that
configuration. The password, where the configuration has one, gets a file of its own that only its owner can read, in
the form of ``~/.pgpass``, which both libraries that connect to PostgreSQL read by themselves.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from beamline.endstation.catalogue_address import SQLITE, CatalogueAddress, parse_address
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.layout import Layout
from beamline.storage.locks import locked


@dataclass(frozen=True)
class Place:
    """Where a catalogue is kept.

    Attributes
    ----------
    address : CatalogueAddress or None
        None where it is SQLite, in the data folder.
    claim : str
        By which a database knows the data folder that it belongs to; empty where none has been asked for.
    """

    address: CatalogueAddress | None = None
    claim: str = ""

    def __str__(self) -> str:
        """Say where it is."""
        return "SQLite, in the data folder" if self.address is None else str(self.address)


def read_place(layout: Layout) -> Place:
    """Read where the catalogue of a data folder is to be kept.

    Raises
    ------
    CatalogueError
        When that cannot be read.
    """
    path = layout.catalogue_address
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        address, _ = parse_address(content["catalogue"])
        return Place(address, str(content["claim"]))
    except FileNotFoundError:
        return Place()
    except OSError as error:
        raise CatalogueError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise CatalogueError(
            f"{path}: not what it should be: {type(error).__name__} {error}; remove it, and give `--config` once more"
        ) from error


def use_catalogue(data_dir: Path, catalogue: SecretStr | None) -> None:
    """Let the catalogue of a data folder be where the configuration says; nothing is moved, and nothing connected to.

    Parameters
    ----------
    data_dir : Path
        It is made where it is missing.
    catalogue : SecretStr or None
        The configuration's ``storage.catalogue``. None leaves things as they are.

    Raises
    ------
    CatalogueError
        When the data folder cannot be written to.
    """
    if catalogue is None:
        return
    layout = Layout(data_dir)
    address, password = parse_address(catalogue.get_secret_value())
    try:
        if address != read_place(layout).address:
            data_dir.mkdir(parents=True, exist_ok=True)
            with locked(layout.creation_lock, keep_waiting=lambda: True):  # two commands may be the first
                claim = read_place(layout).claim or str(uuid.uuid4())
                content = {"catalogue": SQLITE if address is None else str(address), "claim": claim}
                _replace(layout.catalogue_address, json.dumps(content, indent=2) + "\n", 0o644)
        _keep_password(layout.catalogue_password, password)
    except OSError as error:
        raise CatalogueError(f"{error.filename or data_dir}: {error.strerror}") from error


def _keep_password(path: Path, password: str) -> None:
    """Write the password for the libraries, or remove one that the configuration has no more."""
    if not password:
        path.unlink(missing_ok=True)
        return
    line = f"*:*:*:*:{password}\n"  # without what had to be escaped, which `parse_address` refuses
    try:
        if path.read_text(encoding="utf-8") == line and not path.stat().st_mode & 0o077:
            return
    except FileNotFoundError:
        pass
    _replace(path, line, 0o600)


def _replace(path: Path, text: str, mode: int) -> None:
    """Write a file at once and whole: other processes may read it just now."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
