"""Start a program of this package as a process of its own, which imports nothing from the working directory."""

from __future__ import annotations

import sys
from pathlib import Path

# The folder of this package comes last: it is only needed where the package is run from a checkout.
_RUN = "import runpy, sys; sys.path.append(sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), {}, '__main__', True)"


def module_command(module: str, *arguments: str) -> list[str]:
    """Give the command that runs a module as ``python -m`` does, but without the working directory on the import path.

    A file that is named like a module of Python there (``glob.py``) would otherwise be imported in its place.
    """
    return [sys.executable, "-P", "-c", _RUN, str(Path(__file__).parents[1]), module, *arguments]
