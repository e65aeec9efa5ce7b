"""The command line: options in, text out; nothing below this room prints."""

from beamline.cli.app import main

__all__ = ["main"]
