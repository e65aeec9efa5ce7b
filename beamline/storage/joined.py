"""Runs that go on with others: their documents, put together as if they were of one run."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, cast

from event_model import unpack_event_page

from beamline.storage.log import Doc, Document
from callbacks.contract import Stream, parts_before, taken_again

OF_A_RUN = ("descriptor", "resource", "stream_resource")  # documents that name their run


class Joining:
    """Puts the documents of the runs that a run goes on with in front of its own.

    Events are counted on from those of before, stream by stream. A point that is taken again takes the place of the one
    before, so that points are in the order of the plan; where it was not taken any more, that one stays. Start and stop
    document are those of the run itself, and all documents name it as theirs.

    Parameters
    ----------
    earlier : callable
        Gives the documents of a run by its uid.
    """

    def __init__(self, earlier: Callable[[str], Iterable[Document]]) -> None:
        self._earlier = earlier
        self._part = _Part("", ())

    def take(self, name: str, doc: Doc) -> Iterator[Document]:
        """Take a document of the run; give it, and what of those before is in front of it."""
        if name != "start":
            yield from self._part.take(name, doc)
            return
        yield name, doc
        before: list[Document] = []
        for uid in parts_before(doc):
            part = _Part(doc["uid"], before)
            taken = (part.take(*each) for each in self._earlier(uid))
            before = [each for each in chain.from_iterable(taken) if each[0] != "stop"]
            before += part.rest()
        self._part = _Part(doc["uid"], before)
        yield from self._part.take(name, doc)


class _Part:
    """Puts the documents of a run among those of the runs before it.

    Parameters
    ----------
    run : str
        Uid that all are to name.
    before : sequence of Document
        Of those runs, put together; without start and stop.
    """

    def __init__(self, run: str, before: Sequence[Document]) -> None:
        self._run = run
        self._held = deque(before)  # those that are not given yet
        self._again: list[int] = []
        self._stream_of: dict[str, str] = {}  # by uid of the descriptor
        self._before: Counter[str] = Counter()  # highest number of the events before, by stream
        for name, doc in before:
            if name == "descriptor":
                self._stream_of[doc["uid"]] = doc["name"]
            elif name == "event":
                stream = self._stream_of.get(doc["descriptor"], "")
                self._before[stream] = max(self._before[stream], doc["seq_num"])

    def take(self, name: str, doc: Doc) -> Iterator[Document]:
        """Take a document; give it with what is in front of it, of a start document only that."""
        if name in OF_A_RUN and "run_start" in doc:
            doc = {**doc, "run_start": self._run}
        match name:
            case "start":
                self._again = taken_again(doc)
                yield from self._up_to(self._again[0]) if self._again else self.rest()
                return
            case "stop":
                yield from self.rest()
            case "descriptor":
                self._stream_of[doc["uid"]] = doc["name"]
            case "event":
                number = self._number(self._stream_of.get(doc["descriptor"], ""), doc["seq_num"])
                if self._is_primary(doc):
                    yield from self._up_to(number)
                    if self._held and self._held[0][1]["seq_num"] == number:
                        self._held.popleft()
                doc = {**doc, "seq_num": number}
            case "event_page":
                for event in unpack_event_page(cast(Any, doc)):
                    yield from self.take("event", cast(Any, event))
                return
            case "stream_datum":
                yield from self._ranges(doc)
                return
        yield name, doc

    def rest(self) -> Iterator[Document]:
        """Give all that is left of before."""
        while self._held:
            yield self._held.popleft()

    def _up_to(self, number: int) -> Iterator[Document]:
        """Give what is left of before, until the point of that number comes, or one behind it."""
        while self._held:
            name, doc = self._held[0]
            if name == "event" and self._is_primary(doc) and doc["seq_num"] >= number:
                return
            yield self._held.popleft()

    def _is_primary(self, event: Doc) -> bool:
        return self._stream_of.get(event["descriptor"]) == Stream.PRIMARY

    def _number(self, stream: str, number: int) -> int:
        """Give the number that an event of this part has among all."""
        if stream != Stream.PRIMARY or number > len(self._again):
            return number + self._before[stream] - (len(self._again) if stream == Stream.PRIMARY else 0)
        return self._again[number - 1]

    def _ranges(self, doc: Doc) -> Iterator[Document]:
        """Give a range of frames with the numbers of its events among all; one for each where they are apart."""
        stream = self._stream_of.get(doc["descriptor"], "")
        start, stop, first = doc["seq_nums"]["start"], doc["seq_nums"]["stop"], doc["indices"]["start"]
        if stream != Stream.PRIMARY or start > len(self._again):
            moved = {"start": self._number(stream, start), "stop": self._number(stream, stop - 1) + 1}
            yield "stream_datum", {**doc, "seq_nums": moved}
            return
        for place, number in enumerate(range(start, stop)):
            new = self._number(stream, number)
            yield (
                "stream_datum",
                {
                    **doc,
                    "uid": f"{doc['uid']}/{place}",
                    "seq_nums": {"start": new, "stop": new + 1},
                    "indices": {"start": first + place, "stop": first + place + 1},
                },
            )


def joined(documents: Iterable[Document], earlier: Callable[[str], Iterable[Document]]) -> Iterator[Document]:
    """Give the documents of a run with those of the runs that it goes on with; see `Joining`."""
    joining = Joining(earlier)
    for name, doc in documents:
        yield from joining.take(name, doc)
