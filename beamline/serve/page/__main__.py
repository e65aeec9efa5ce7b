"""Serve the page: ``python -m beamline.serve.page``."""

from __future__ import annotations

import os
from pathlib import Path

from beamline.endstation.config import load_config
from beamline.serve.access import run_server
from beamline.serve.keys import load_keys
from beamline.serve.page.app import Page
from beamline.serve.parts import Places


def main() -> None:
    """Serve until ended."""
    os.umask(0o077)
    config, data_dir = load_config(Path(os.environ["BEAMLINE_CONFIG"])), Path(os.environ["BEAMLINE_DATA_DIR"])
    places = Places.of(data_dir)
    single = bool(os.environ.get("BEAMLINE_SINGLE"))
    app = Page(config, data_dir, places, load_keys(places.keys), single=single).app()
    run_server(app, config.service.host, config.service.page_port)


if __name__ == "__main__":
    main()
