"""Serve the catalogue over HTTP to databroker's and Tiled's clients, who read: ``python -m ...catalogue_server``."""

from __future__ import annotations

import os
from pathlib import Path

from beamline.endstation.config import load_config
from beamline.errors import BeamlineError
from beamline.serve.access import CLOSED, KeyRequired, run_server
from beamline.serve.keys import load_keys
from beamline.serve.parts import Places
from beamline.storage.catalogue.embedded import served_app

ABOUT = ("/api/v1", "/api/v1/")  # clients ask it for the version before they show their key


def main() -> None:
    """Serve until ended."""
    config, data_dir = load_config(Path(os.environ["BEAMLINE_CONFIG"])), Path(os.environ["BEAMLINE_DATA_DIR"])
    keys = load_keys(Places.of(data_dir).keys)
    try:
        served = served_app(data_dir)
    except BeamlineError as error:
        raise SystemExit(str(error)) from error  # on standard error, which is its log: one line
    app = KeyRequired(served, keys, role="viewer", open_to_all=ABOUT, closed=CLOSED)
    run_server(app, config.service.host, config.service.catalogue_port)


if __name__ == "__main__":
    main()
