"""Take runs into the catalogue at once, and say of each that did not come into it why."""

from __future__ import annotations

from pathlib import Path

from beamline.storage.catalogue.supervisor import INGEST_TIMEOUT, IngestSupervisor


def take_in(data_dir: Path, *uids: str) -> dict[str, str]:
    """Take recorded runs into the catalogue of their data folder; see `not_taken_in`."""
    ingester = IngestSupervisor(data_dir)
    ingester.start()
    try:
        return not_taken_in(ingester, *uids)
    finally:
        ingester.finish()


def not_taken_in(ingester: IngestSupervisor, *uids: str) -> dict[str, str]:
    """Wait for runs to be in the catalogue, and give the reason of each that is not; they are safe in their logs."""
    late: dict[str, str] = {}
    for uid in uids:
        if not ingester.wait_for(uid, 0.0 if late else INGEST_TIMEOUT):
            errors = ingester.status().errors
            late[uid] = errors.get(uid) or errors.get("") or f"nothing took it in within {INGEST_TIMEOUT:.0f} s"
    return late
