"""What may be wrong with a catalogue as a whole, and what to do about it."""

from __future__ import annotations

from beamline.errors import BeamlineError

REMEDY = "`beamline recover` makes it anew from the logs"


class CatalogueError(BeamlineError):
    """The catalogue cannot be used now: it is locked, or its folder cannot be written to or read."""

    def __init__(self, what: str) -> None:
        super().__init__(" ".join(what.splitlines()))  # the name of a folder may have a line break in it


class DamagedCatalogueError(CatalogueError):
    """The catalogue is missing, damaged, of another format, or of another data folder: it has to be made anew."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; {REMEDY}")
        self.what = " ".join(what.splitlines())


class CatalogueServerError(CatalogueError):
    """The server of the catalogue does not answer, does not let us in, or has something else there."""
