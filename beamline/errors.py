"""The errors a user is shown as one line."""

from __future__ import annotations

from beamline.text import clean


class BeamlineError(Exception):
    """Something the user can act on: what was wrong, what was expected, and where.

    Parameters
    ----------
    *problems : str
        One line for each thing that is wrong; what could break a line is made visible.

    Attributes
    ----------
    problems : tuple of str
    """

    def __init__(self, *problems: object) -> None:
        self.problems = tuple(map(clean, problems))
        super().__init__(*self.problems)

    def __str__(self) -> str:
        """Give the problems, a line each."""
        return "\n".join(self.problems)
