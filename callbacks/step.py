"""What a step of a reduction is, and how steps are run one after the other on an event."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from callbacks.contract import DataKey, Output, Result, Stream

logger = logging.getLogger(__name__)

Observer = Callable[[str, Mapping[str, Any]], None]  # is given the name of a step and all its outputs


class UnusableError(ValueError):
    """What an event holds is of no use to a step; the message says why, and is kept as it is for whoever measured."""


class Step(ABC):
    """One step of a reduction: pure arithmetic, with the state it keeps from event to event.

    A step is given all it needs in its constructor and in the events; it holds no other step.

    Attributes
    ----------
    kept : tuple of Output
        Those of its outputs that are kept in the derived run; of a step whose outputs depend on the run, its own.
    """

    kept: tuple[Output, ...] = ()

    @abstractmethod
    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take one raw event with the outputs of the earlier steps; give this step's outputs."""

    def push_dark(self, event: Mapping[str, Any]) -> None:  # noqa: B027 - most steps have no use for it
        """Take a dark event: one that was measured without light."""

    def take_closed(self, *, final: bool = False) -> Iterator[dict[str, Any]]:
        """Give what has come together of several events since, as events for the chain behind.

        Parameters
        ----------
        final : bool
            No event will follow: give also what is not whole.
        """
        return iter(())

    @property
    def result(self) -> Result | None:
        """What is known from the events so far; None for a step that keeps nothing from event to event."""
        return None


class Chain:
    """Steps run in order on every event; a step that fails costs that event only.

    Parameters
    ----------
    steps : mapping of str to Step
        The steps by name, in order.
    stream : Stream
        The stream of the derived run that has one event for each event of this chain.
    behind : Chain, optional
        Steps that work on what several events make together, as a step of this chain gives it by `Step.take_closed`.

    Attributes
    ----------
    errors : int
        How often a step failed.
    """

    def __init__(
        self, steps: Mapping[str, Step], *, stream: Stream = Stream.FRAMES, behind: Chain | None = None
    ) -> None:
        self.steps = dict(steps)
        self.stream = stream
        self.behind = behind
        self.errors = 0
        self._shapes: dict[str, tuple[int, ...]] = {}

    def push_dark(self, event: Mapping[str, Any]) -> None:
        """Hand a dark event to every step."""
        for step in self.steps.values():
            step.push_dark(event)

    def take_closed(self, *, final: bool = False) -> Iterator[dict[str, Any]]:
        """Give the events for the chain behind that have come together since; at the end, also what is not whole."""
        for step in self.steps.values():
            yield from step.take_closed(final=final)

    def push(
        self, event: Mapping[str, Any], *, problem: str = "", observer: Observer | None = None
    ) -> tuple[dict[str, Any], str]:
        """Run the steps on one event.

        Parameters
        ----------
        event : mapping
            Values of the raw event.
        problem : str
            Why the event is not measured at all; then no step sees it.
        observer : callable, optional
            Is given the name of each step and all its outputs, also those that are not kept.

        Returns
        -------
        kept : dict
            The outputs that are kept. Where a step failed, its outputs and those of the steps behind it are missing
            (see `missing`).
        problem : str
            Empty, or why the event is of no use, or which step failed and why.
        """
        values, kept = dict(event), {}
        for name, step in self.steps.items() if not problem else ():
            try:
                outputs = step.push(values)
                wanted = {str(key): outputs[key] for key in step.kept}
            except UnusableError as error:
                self.errors += 1
                problem = str(error)
                logger.warning("event %s: %s", event.get("seq_num"), problem)
                break
            except Exception as error:  # whatever else a step raises costs this event, not the scan
                self.errors += 1
                problem = f"{name}: {type(error).__name__}: {error}"
                logger.exception("step %s failed on event %s", name, event.get("seq_num"))
                break
            kept.update(wanted)
            values.update(outputs)
            if observer is not None:
                observer(name, outputs)
        self._shapes.update({key: np.shape(value) for key, value in kept.items()})
        return kept, problem

    def missing(self) -> dict[str, Any]:
        """Give the values that say "not measured" for all kept outputs: NaN, an empty text, -1 for a whole number."""
        return {str(key): _not_measured(key.dtype, self._shapes.get(key, ())) for key in self.kept}

    @property
    def kept(self) -> list[Output]:
        """All kept outputs."""
        return [key for step in self.steps.values() for key in step.kept]

    @property
    def described(self) -> dict[str, DataKey]:
        """The data keys of all kept outputs, without their shapes."""
        return {str(key): key.data_key for key in self.kept}

    @property
    def result(self) -> dict[str, Any]:
        """The results of all steps; a step whose result fails leaves `<step>_problem` in its place."""
        merged: dict[str, Any] = {}
        for name, step in self.steps.items():
            try:
                result = step.result
                values = {} if result is None else result.as_dict()
            except Exception as error:  # the results of the other steps must survive
                self.errors += 1
                logger.exception("result of step %s failed", name)
                values = {f"{name}_problem": f"{type(error).__name__}: {error}"}
            if clash := merged.keys() & values.keys():
                raise ValueError(f"step {name} gives results that an earlier step gave: {', '.join(sorted(clash))}")
            merged.update(values)
        return merged | (self.behind.result if self.behind is not None else {})


def _not_measured(dtype: str, shape: tuple[int, ...]) -> Any:
    match dtype:
        case "string":
            return ""
        case "integer":
            return -1
        case "boolean":
            return False
        case "array":
            return np.full(shape, np.nan)
        case _:
            return float("nan")
