"""The interruptions of a run, counted so that no point is measured twice and none is skipped."""

from __future__ import annotations

from bluesky.utils import NoReplayAllowed


class Interruptions:
    """Counts the interruptions of a run, and keeps what was measured from being measured again.

    After a pause or a suspension the engine replays the messages since the last checkpoint. It checks for one before
    each message, so it may happen after `save` and before the next checkpoint: the point would be measured twice, and
    two events would have the same number. So once all detectors are done, the replay is refused until the next
    checkpoint; the plan handles an interruption in between.

    The engine notifies every object it has seen in a message (`bluesky.protocols.Pausable`), so each checkpoint
    carries this one.

    Attributes
    ----------
    count : int
        Times since the beginning that others may have moved devices.
    run : str
        Uid of the run, once it is open.
    """

    name = "interruptions"
    parent = None

    def __init__(self) -> None:
        self.count = 0
        self.run = ""
        self._replay = True

    def allow_replay(self) -> None:
        """Let the engine replay from the next checkpoint on."""
        self._replay = True

    def refuse_replay(self) -> None:
        """Refuse replays until `allow_replay`."""
        self._replay = False

    def pause(self) -> None:
        """Count a pause or suspension; raise `NoReplayAllowed` where replays are refused."""
        self.count += 1
        if not self._replay:
            raise NoReplayAllowed

    def resume(self) -> None:
        """Do nothing: the plan compares the count."""
