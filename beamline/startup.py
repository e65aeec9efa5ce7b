"""What an IPython session starts from: ``from beamline.startup import *``.

Gives ``RE``, the devices by name, the plans bound to them (``RE(xas("520:560:0.5"))``), the catalogue ``cat`` of the
measured runs (``cat[-1]`` is the newest), their reductions by ``derived_of(cat[-1])`` and ``derived_runs(cat)``,
``wait_for_catalogue()``, which returns when all that was measured is there, and the ``session``. The configuration is
the simulated endstation, or the file that BEAMLINE_CONFIG names; the data folder is the configuration's, or the one
that BEAMLINE_DATA_DIR names.
"""

from __future__ import annotations

import atexit
import os
from functools import partial
from pathlib import Path

from beamline.acquire.session import Session
from beamline.endstation.config import load_config
from beamline.storage.catalogue.errors import CatalogueError
from beamline.storage.catalogue.find import derived_of, derived_runs, open_catalog
from beamline.storage.layout import Layout
from plans import PLANS

_config = os.environ.get("BEAMLINE_CONFIG")
_data_dir = os.environ.get("BEAMLINE_DATA_DIR")

config = load_config(Path(_config) if _config else None)
session = Session(config, Path(_data_dir) if _data_dir else config.storage.data_dir)
session.__enter__()
atexit.register(session.close)

RE = session.RE
cat = open_catalog(session.data_dir)
endstation = session.endstation
devices = endstation.all_devices
plans = {name: partial(plan.function, endstation) for name, plan in PLANS.items()}
globals().update(devices | plans)


def wait_for_catalogue() -> None:
    """Wait until everything measured so far has been reduced and is in the catalogue, with its reduction.

    Raises
    ------
    CatalogueError
        When a run does not come into the catalogue; says why.
    """
    if reason := session.drain() or session.ingester.why_missing(
        *(path.stem for path in Layout(session.data_dir).pending_logs())
    ):
        raise CatalogueError(reason)


__all__ = ["RE", "cat", "config", "derived_of", "derived_runs", "devices", "endstation", "plans", "session"]
__all__ += ["wait_for_catalogue"]
__all__ += list(devices) + list(plans)
