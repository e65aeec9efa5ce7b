"""The session of what measures for the service: an engine that records, after what a dead one left is closed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from beamline.acquire.session import Session
from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.storage.catalogue.recovery import close_dead_runs

logger = logging.getLogger(__name__)


def measuring_session() -> Session:
    """Make the session, of the configuration and data folder that BEAMLINE_CONFIG and BEAMLINE_DATA_DIR name.

    What follows the logs runs beside it. A run that a worker which was killed left open is closed first, so that it is
    reduced and in the catalogue before anybody asks.
    """
    config = os.environ.get("BEAMLINE_CONFIG")
    loaded = load_config(Path(config) if config else None)
    named = os.environ.get("BEAMLINE_DATA_DIR")
    data_dir = Path(named) if named else loaded.storage.data_dir
    try:
        left = close_dead_runs(data_dir)
    except BeamlineError as error:  # to measure matters more; `beamline recover` does it later
        logger.warning("runs that were interrupted are left open: %s", error)
    else:
        for run in left.closed:
            logger.warning("run %s (%s) was interrupted: it is closed, with %s", run.scan_id, run.uid, run.events)
        for problem in left.problems:
            logger.warning("%s", problem)
    return Session(loaded, data_dir, followers=())
