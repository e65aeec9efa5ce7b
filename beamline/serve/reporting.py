"""How a service is, for whoever asks beside it: what its supervisor noted, and what Redis and the queue answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from beamline.serve.keys import load_keys
from beamline.serve.parts import QUEUE, REDIS, Places, queue_client, redis_client
from beamline.serve.supervisor import read_notes
from beamline.storage.layout import Layout
from beamline.storage.locks import is_locked

SHOWN = ("does", "state", "pid", "since", "restarts", "error")


def service_status(data_dir: Path) -> dict[str, Any] | None:
    """Tell how the service of a data folder is; None where there is none.

    Returns
    -------
    dict or None
        For JSON: ``supervised``, whether a supervisor works; ``parts``, by name the state, process id, since when,
        restarts and error of each; of the queue its state and number of items, of Redis whether it answers.
    """
    if not (Layout(data_dir).service / "service.json").exists():
        return None
    places = Places.of(data_dir)
    noted = {name: asdict(status) for name, status in read_notes(places.notes).items()}
    parts = {name: {key: status[key] for key in SHOWN} for name, status in noted.items()}
    supervised = is_locked(places.lock)
    if REDIS in parts:
        parts[REDIS]["answers"] = _answer(lambda: bool(redis_client(places, load_keys(places.keys)).ping()))
    if QUEUE in parts:
        parts[QUEUE]["answers"] = _answer(lambda: _queue(places))
    return {"supervised": supervised, "parts": parts}


def _queue(places: Places) -> dict[str, Any]:
    status = queue_client(places).status(reload=True)
    keys = ("manager_state", "re_state", "items_in_queue", "items_in_history", "worker_environment_exists")
    return {key: status[key] for key in keys}


def _answer(ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - whatever a library says of a connection is the answer
        return f"no answer: {' '.join(str(error).split())[:150]}"
