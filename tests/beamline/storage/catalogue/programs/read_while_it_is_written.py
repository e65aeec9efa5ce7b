"""Read the newest run of a catalogue repeatedly while it is being ingested."""

import json
import sys
import time
from pathlib import Path

from beamline.storage.catalogue.documents import documents
from beamline.storage.catalogue.find import open_catalog, resolve_run
from callbacks.external import ExternalFrames

catalogue = open_catalog(Path(sys.argv[1]))
print("ready", flush=True)
seen = []
while not seen or seen[-1]["scan_id"] < 2 or seen[-1]["open"]:
    run = resolve_run(catalogue, "-1")
    files, values, frames, names, told = ExternalFrames(), [], [], [], 0
    for name, doc in documents(run):
        names.append(name)
        if name.startswith("stream_"):
            getattr(files, name)(doc)
            told = doc["seq_nums"]["stop"] if name == "stream_datum" else told
        elif name == "event":
            values.append(doc["data"]["signal"])
            if doc["seq_num"] < told:  # while a run is taken in, frames come a little after their events
                frames.append(int(files.read(doc, "ccd")[0, 0]))
    files.close()
    seen.append({"scan_id": run.start["scan_id"], "values": values, "frames": frames, "open": names[-1] != "stop"})
    time.sleep(0.1)
print(json.dumps(seen))
