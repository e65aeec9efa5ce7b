"""A campaign from the queue: what of it can be measured now is queued, and its report written once all is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bluesky_queueserver_api import BPlan

from beamline.errors import BeamlineError
from beamline.operations.campaign import what_waits
from beamline.serve.parts import Places, queue_client
from beamline.storage.runs import Runs
from callbacks.contract import CAMPAIGN


def queue_campaign(path: Path, runs: Runs, **options: Any) -> dict[str, Any]:
    """Queue what of a campaign can be measured now, and is not queued yet.

    Parameters
    ----------
    path : Path
        The file of the campaign.
    runs : Runs
        Of the data folder of the service.
    **options
        As of `beamline.operations.campaign.what_waits`.

    Returns
    -------
    dict
        For JSON: ``queued``, plan and sample of each item; ``waiting``, how many others are queued or measured
        already; ``proposal`` and ``report`` as of `beamline.operations.campaign.run_campaign`, empty where there is
        none yet.

    Raises
    ------
    BeamlineError
        When the queue does not answer or refuses a plan, or as of `what_waits`.
    """
    waiting = what_waits(path, runs, **options)
    client = queue_client(Places.of(runs.data_dir))
    try:
        held = client.queue_get()
        there = [item.get("meta", {}).get(CAMPAIGN) for item in (*held["items"], held["running_item"] or {})]
        new = [plan for plan in waiting.plans if plan[2][CAMPAIGN] not in there]
        if new:
            client.item_add_batch(items=[_item(*plan) for plan in new])
    except Exception as error:  # of the connection, or of the manager, which names what it refuses
        raise BeamlineError(f"the queue of {runs.data_dir}: {' '.join(str(error).split())[:300]}") from error
    finally:
        client.close()
    proposal = waiting.proposal
    return {
        "queued": [f"{name} of {meta[CAMPAIGN]['sample']}" for name, _, meta in new],
        "waiting": len(waiting.plans) - len(new),
        "proposal": {} if proposal is None else asdict(proposal) | {"path": str(proposal.path)},
        "report": waiting.report,
    }


def _item(name: str, parameters: dict[str, Any], meta: dict[str, Any]) -> BPlan:
    item = BPlan(name, **parameters)
    item.meta = meta
    return item
