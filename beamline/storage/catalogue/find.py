"""Open the databroker catalogue of a data folder, and find runs in it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from beamline.errors import BeamlineError
from beamline.storage.catalogue.documents import documents
from beamline.storage.large_arrays import internalise
from beamline.storage.results import Run, collect
from beamline.text import clean
from callbacks.contract import DERIVATION, Stream, reduction_of

MIN_UID_PREFIX = 5  # characters; the catalogue's own search requires as many

UID_BEGINNING = re.compile(r"[A-Za-z0-9_.-]+")
MAX_SCAN_ID_DIGITS = 15  # longer numbers are no scan ids, and the catalogue's JSON does not hold them


class RunNotFoundError(BeamlineError):
    """No run matches a name, or more than one does."""


def open_catalog(data_dir: Path | str) -> Any:
    """Open the databroker catalogue of a data folder; create it if there is none.

    The first call in a process takes seconds, for the imports. The catalogue is in process: there is no server and no
    network. Any number of processes may have it open, also while runs are being ingested.

    Returns
    -------
    bluesky_tiled_plugins.CatalogOfBlueskyRuns
        The measured and imported runs. It offers ``catalog[-1]`` (the newest), ``catalog[scan_id]``,
        ``catalog["uid prefix"]``, ``catalog.search(...)``, and databroker's older interface as ``catalog.v1``.

    Raises
    ------
    CatalogueError
        When it cannot be opened; the one line says why and what to do.

    See Also
    --------
    derived_of : the reduction of a run.
    derived_runs : the catalogue of derived runs.
    """
    from beamline.storage.catalogue.embedded import open_embedded  # noqa: PLC0415 - takes seconds

    return open_embedded(Path(data_dir))


def derived_runs(catalogue: Any) -> Any:
    """Return the catalogue of the derived runs, oldest first, that lies beside a catalogue of raw runs.

    Parameters
    ----------
    catalogue : CatalogOfBlueskyRuns or BlueskyRun
        From `open_catalog`, or a run from there.

    Returns
    -------
    bluesky_tiled_plugins.CatalogOfBlueskyRuns
    """
    from beamline.storage.catalogue.embedded import open_derived  # noqa: PLC0415 - tiled is only imported when needed

    return open_derived(catalogue)


def derived_of(run: Any) -> Run:
    """Read the newest reduction of a raw run: its results, and all its streams as arrays.

    Parameters
    ----------
    run : bluesky_tiled_plugins.BlueskyRun or databroker.v1.Header
        A raw run from `open_catalog`, or from databroker's older interface of it.

    Returns
    -------
    Run
        ``derived_of(cat[-1]).result["energy"]`` is an array of the result, ``.frames`` the table with one row for each
        event of the raw run, ``.streams`` all tables by name, ``.derivation`` what it was made with.

    Raises
    ------
    TypeError
        When it is no run.
    RunNotFoundError
        When the run has not been reduced, or the catalogue does not have the reduction yet.
    ReplayError
        When an array of it cannot be read.
    """
    from tiled.queries import Contains  # noqa: PLC0415 - tiled is only imported with the catalogue

    run = run if hasattr(run, "context") else getattr(run, "v2", run)
    if not (hasattr(run, "context") and hasattr(run, "start")):
        raise TypeError(f"{clean(repr(run)):.80} is no run; expected one of the catalogue, such as cat[-1] or cat[42]")
    uid = str(run.start["uid"])
    found = derived_runs(run).search(Contains(f"{DERIVATION}.raw_uids", uid)).values()
    for node in reversed(list(found)):
        if reduction_of(node.start) == uid and Stream.RESULT in node:
            return collect(internalise(documents(node)))
    raise RunNotFoundError(f"run {uid}: the catalogue has no reduction of it")


def resolve_run(catalogue: Any, name: str) -> Any:
    """Find the run that a user means.

    Parameters
    ----------
    catalogue : CatalogOfBlueskyRuns
        From `open_catalog`.
    name : str
        A scan id (the newest run that has it); -1, -2, ... for the newest runs; or a uid or the unique beginning of
        one, also of a derived run.

    Returns
    -------
    bluesky_tiled_plugins.BlueskyRun

    Raises
    ------
    RunNotFoundError
        When there is no such run; the message is one line that says what was looked for and what there is.
    """
    name = name.strip()
    if name.startswith("-") and name[1:].isdecimal():
        if not 1 <= int(name[1:]) <= len(catalogue):
            raise RunNotFoundError(f"run {name}: the catalogue holds {len(catalogue)} measured runs")
        return catalogue[int(name)]
    if name.isdecimal() and len(name) <= MAX_SCAN_ID_DIGITS:
        with suppress(KeyError):
            return catalogue.scan_id[int(name)]
    if len(name) < MIN_UID_PREFIX:
        raise RunNotFoundError(
            f"run {name}: no such scan id; the beginning of a uid needs at least {MIN_UID_PREFIX} characters"
        )
    run = None
    if UID_BEGINNING.fullmatch(name):  # others the catalogue would take for wildcards or for the way to a part of a run
        run = _with_uid(catalogue, name)
        if run is None:  # a run without events, which is empty, is there all the same
            run = _with_uid(derived_runs(catalogue), name)
    if run is None:
        raise RunNotFoundError(f"run {name}: no run of the catalogue has this uid or scan id")
    return run


def _with_uid(container: Any, name: str) -> Any:
    try:
        run = container[name]
    except KeyError:
        return None
    except ValueError:
        raise RunNotFoundError(f"run {name}: more than one run has a uid that starts with this") from None
    return run if str(run.start["uid"]).startswith(name) else None  # to the catalogue, _ stands for any character
