"""Take runs into the catalogue at once, and say why where that does not succeed."""

from __future__ import annotations

from pathlib import Path

from beamline.storage.catalogue.supervisor import INGEST_TIMEOUT, IngestSupervisor


def take_in(data_dir: Path, *uids: str) -> str:
    """Take recorded runs into the catalogue of their data folder; see `why_missing`."""
    ingester = IngestSupervisor(data_dir)
    ingester.start()
    try:
        return why_missing(ingester, *uids)
    finally:
        ingester.finish()


def why_missing(ingester: IngestSupervisor, *uids: str) -> str:
    """Wait for runs to be in the catalogue, and say in one line why they are not; empty where all are."""
    late: dict[str, str] = {}
    for uid in uids:
        if not ingester.wait_for(uid, 0.0 if late else INGEST_TIMEOUT):
            errors = ingester.status().errors
            late[uid] = errors.get(uid) or errors.get("") or f"nothing took it in within {INGEST_TIMEOUT:.0f} s"
    if not late:
        return ""
    reasons = "; ".join(dict.fromkeys(late.values()))
    return f"run {', '.join(late)} is not in the catalogue: {reasons}; `beamline recover` takes it in"
