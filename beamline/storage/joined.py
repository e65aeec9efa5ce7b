"""Runs that go on with others: their documents, put together as if they were of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from beamline.storage.log import Doc, Document
from callbacks.contract import parts_before

OF_A_RUN = ("descriptor", "resource", "stream_resource")  # documents that name their run


class Joining:
    """Puts the documents of the runs that a run goes on with in front of its own.

    Events are counted on from those of before, stream by stream. Start and stop document are those of the run itself,
    and all documents name it as theirs.

    Parameters
    ----------
    earlier : callable
        Gives the documents of a run by its uid.
    """

    def __init__(self, earlier: Callable[[str], Iterable[Document]]) -> None:
        self._earlier = earlier
        self._run = ""
        self._stream_of: dict[str, str] = {}  # by uid of the descriptor
        self._before: Counter[str] = Counter()  # events of the parts that are complete, by stream
        self._newest: Counter[str] = Counter()  # highest number in the part under way

    def take(self, name: str, doc: Doc) -> Iterator[Document]:
        """Take a document of the run; give it, and with the start document those of before."""
        if name != "start":
            yield self._moved(name, doc)
            return
        self._run = doc["uid"]
        yield name, doc
        for uid in parts_before(doc):
            for each, part in self._earlier(uid):
                if each not in ("start", "stop"):
                    yield self._moved(each, part)
            self._before += self._newest
            self._newest.clear()

    def _moved(self, name: str, doc: Doc) -> Document:
        if name in OF_A_RUN and "run_start" in doc:
            doc = {**doc, "run_start": self._run}
        match name:
            case "descriptor":
                self._stream_of[doc["uid"]] = doc["name"]
            case "event":
                stream = self._stream_of.get(doc["descriptor"], "")
                self._newest[stream] = max(self._newest[stream], doc["seq_num"])
                doc = {**doc, "seq_num": doc["seq_num"] + self._before[stream]}
            case "event_page":
                stream = self._stream_of.get(doc["descriptor"], "")
                self._newest[stream] = max(self._newest[stream], *doc["seq_num"])
                doc = {**doc, "seq_num": [number + self._before[stream] for number in doc["seq_num"]]}
            case "stream_datum":
                before = self._before[self._stream_of.get(doc["descriptor"], "")]
                numbers = {end: doc["seq_nums"][end] + before for end in ("start", "stop")}
                doc = {**doc, "seq_nums": numbers}
        return name, doc


def joined(documents: Iterable[Document], earlier: Callable[[str], Iterable[Document]]) -> Iterator[Document]:
    """Give the documents of a run with those of the runs that it goes on with; see `Joining`."""
    joining = Joining(earlier)
    for name, doc in documents:
        yield from joining.take(name, doc)
