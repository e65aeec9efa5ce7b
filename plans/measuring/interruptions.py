"""What a run knows of its interruptions, so that no point is taken twice and none is left out."""

from __future__ import annotations

from bluesky.utils import NoReplayAllowed


class Interruptions:
    """Counts the interruptions of a run, and keeps what was measured from being measured again.

    After a pause or a suspension the engine replays what it did since the last checkpoint. Before each message it
    listens for them, so one may come after `save` and before the next checkpoint: the point would be taken twice, and
    two events bear one number. So from the moment that all detectors are done the replay is refused, until the next
    checkpoint; what is to be done about an interruption in between, the plan decides.

    The engine tells every object it has seen in a message (`bluesky.protocols.Pausable`): the checkpoints bear it.

    Attributes
    ----------
    count : int
        Times since the beginning that others may have moved devices.
    """

    name = "interruptions"
    parent = None

    def __init__(self) -> None:
        self.count = 0
        self._replay = True

    def allow_replay(self) -> None:
        """Let the engine replay from the checkpoint that comes next."""
        self._replay = True

    def refuse_replay(self) -> None:
        """Let nothing be replayed until `allow_replay`."""
        self._replay = False

    def pause(self) -> None:
        """Count a pause or suspension; raise `NoReplayAllowed` where nothing is to be replayed after it."""
        self.count += 1
        if not self._replay:
            raise NoReplayAllowed

    def resume(self) -> None:
        """Do nothing: the plan looks at the count."""
