"""Open the databroker catalogue of a data folder, and find runs in it."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from callbacks.contract import DERIVATION

logger = logging.getLogger(__name__)

MIN_UID_PREFIX = 5  # characters; the catalogue's own search requires as many


class RunNotFoundError(BeamlineError):
    """No run matches a name, or more than one does."""


def open_catalog(data_dir: Path) -> Any:
    """Open the databroker catalogue of a data folder; create it if there is none.

    The first call in a process takes seconds, for the imports. The catalogue is in process: there is no server and no
    network. Any number of processes may have it open, also while runs are being ingested.

    Returns
    -------
    bluesky_tiled_plugins.CatalogOfBlueskyRuns
        It offers ``catalog[-1]`` (the newest run, raw or derived), ``catalog[scan_id]``, ``catalog["uid prefix"]``,
        ``catalog.search(...)``, and databroker's older interface as ``catalog.v1``.
    """
    from beamline.storage.catalogue.embedded import open_embedded  # noqa: PLC0415 - takes seconds

    return open_embedded(data_dir)


def raw_runs(catalogue: Any) -> Any:
    """Return the measured and imported runs of a catalogue, oldest first, as a catalogue."""
    from tiled.queries import KeyPresent  # noqa: PLC0415 - tiled is only imported with the catalogue

    return catalogue.search(KeyPresent(DERIVATION, exists=False))


def derived_of(catalogue: Any, uid: str) -> list[Any]:
    """Return the runs that were derived from the raw run `uid`, oldest first."""
    from tiled.queries import Contains  # noqa: PLC0415 - tiled is only imported with the catalogue

    return list(catalogue.search(Contains(f"{DERIVATION}.raw_uids", uid)).values())


def resolve_run(catalogue: Any, name: str) -> Any:
    """Find the run that a user means.

    Parameters
    ----------
    catalogue : CatalogOfBlueskyRuns
        From `open_catalog`.
    name : str
        A uid or the unique beginning of one; a scan id (the newest raw run that has it); or -1, -2, ... for the newest
        raw runs.

    Returns
    -------
    bluesky_tiled_plugins.BlueskyRun

    Raises
    ------
    RunNotFoundError
        When there is no such run; the message is one line that says what was looked for and what there is.
    """
    name = name.strip()
    raw = raw_runs(catalogue)
    if name.startswith("-") and name[1:].isdigit():
        if not 1 <= int(name[1:]) <= len(raw):
            raise RunNotFoundError(f"run {name}: the catalogue holds {len(raw)} measured runs")
        return raw[int(name)]
    if name.isdigit():
        with suppress(KeyError):
            return raw[int(name)]
    if len(name) < MIN_UID_PREFIX:
        raise RunNotFoundError(
            f"run {name}: no such scan id; the beginning of a uid needs at least {MIN_UID_PREFIX} characters"
        )
    try:
        return catalogue[name]
    except KeyError:
        raise RunNotFoundError(f"run {name}: no run of the catalogue has this uid or scan id") from None
    except ValueError:
        raise RunNotFoundError(f"run {name}: more than one run has a uid that starts with this") from None
