"""Run the command line: ``python -m beamline``."""

from beamline.cli.app import main

main()
