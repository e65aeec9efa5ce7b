"""Reports as the processes that follow the logs write them."""

import json
import os
import time

from beamline.storage.layout import Layout


def report(data_dir, kind, **more):
    """Write a report as a process of this kind does."""
    text = {"pid": os.getpid(), "since": 1.0, "time": time.time(), "state": "idle", "error": "", "runs": []} | more
    Layout(data_dir).process_status(kind).write_text(json.dumps(text))
