"""The URIs by which the catalogue refers to files, for data folders with any characters in their path.

Tiled takes the path of a URI as it stands, so a path is written unquoted. It cuts a path at ``#`` and ``?``, which no
quoting prevents: where a data folder has one of these (or a line break) in its path, the folder's part of the URI is
quoted, and Tiled's function that gives the path of a URI is replaced; see
`beamline.storage.catalogue.embedded`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlparse

_UNSPEAKABLE = re.compile(r"[#?\t\r\n]")
_FILE = "file://localhost"


def asset_uri(path: Path, data_dir: Path) -> str:
    """Give the URI by which the catalogue of a data folder refers to a file.

    Parameters
    ----------
    path, data_dir : Path
        Absolute.
    """
    if path.is_relative_to(data_dir):
        return f"{_FILE}{quoted_folder(data_dir)}/{path.relative_to(data_dir)}"
    return f"{_FILE}{quoted_folder(path)}"


def asset_path(uri: str, data_dir: Path) -> Path:
    """Give the path of a file from the URI by which the catalogue of a data folder refers to it."""
    return unquoted(Path(urlparse(uri).path), [data_dir])


def unquoted(path: Path, data_dirs: Iterable[Path]) -> Path:
    """Undo `quoted_folder` for a path in one of these data folders, or for one that does not exist as it stands."""
    for folder in data_dirs:
        quoted = Path(quoted_folder(folder))
        if quoted != folder and path.is_relative_to(quoted):
            return folder / path.relative_to(quoted)
    return path if "%" not in str(path) or path.exists() else Path(unquote(str(path)))


def quoted_folder(folder: Path) -> str:
    """Quote a path if a URI would otherwise be cut in it; most are returned as they are."""
    path = str(folder)
    if _UNSPEAKABLE.search(path) is None:
        return path
    return re.sub(f"{_UNSPEAKABLE.pattern}|%", lambda found: f"%{ord(found[0]):02X}", path)
