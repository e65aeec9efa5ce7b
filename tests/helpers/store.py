"""A data folder with a recorder on an engine, and its catalogue."""

from contextlib import closing

from bluesky import RunEngine

from beamline.storage.catalogue.find import open_catalog
from beamline.storage.catalogue.ingest import Ingester
from beamline.storage.recorder import Recorder


class Store:
    """A data folder with a recorder on an engine, and a catalogue in this process."""

    def __init__(self, data_dir):
        self.data_dir = data_dir
        self.recorder = Recorder(data_dir)
        self.engine = RunEngine()
        self.engine.subscribe(self.recorder)

    def measure(self, plan, **metadata):
        return self.engine(plan, **metadata)[0]

    def ingest(self, retry_delays=()):
        """Ingest everything; return the error of each run that failed."""
        with closing(Ingester(self.data_dir, retry_delays)) as ingester:
            while ingester.advance():
                pass
            return {run["uid"]: run["error"] for run in ingester.status()}

    def open(self):
        return open_catalog(self.data_dir)
