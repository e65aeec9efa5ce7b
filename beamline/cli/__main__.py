"""Run the command line: ``python -m beamline.cli``."""

from beamline.cli.app import main

main()
