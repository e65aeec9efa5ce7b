"""All documents that an engine emits, and the frames they refer to."""

from callbacks.external import ExternalFrames


class Documents:
    """The documents of an engine, in order."""

    def __init__(self, engine):
        self.all = []
        engine.subscribe(lambda name, doc: self.all.append((name, doc)))

    def of(self, kind):
        return [doc for name, doc in self.all if name == kind]

    def events(self, stream="primary"):
        descriptors = {doc["uid"] for doc in self.of("descriptor") if doc["name"] == stream}
        return [doc for doc in self.of("event") if doc["descriptor"] in descriptors]

    def frames(self, stream, key):
        files = ExternalFrames()
        for name, doc in self.all:
            if name in ("resource", "datum"):
                getattr(files, name)(doc)
        frames = [files.read(event, key) for event in self.events(stream)]
        files.close()
        return frames

    @property
    def stop(self):
        (stop,) = self.of("stop")
        return stop
