"""The errors a user is shown as one line."""


class BeamlineError(Exception):
    """Something the user can act on: what was wrong, what was expected, and where."""
