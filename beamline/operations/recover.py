"""Recover: put a data folder in order after a process died."""

from beamline.storage.catalogue.recovery import RecoveredRun, Recovery, recover

__all__ = ["RecoveredRun", "Recovery", "recover"]
