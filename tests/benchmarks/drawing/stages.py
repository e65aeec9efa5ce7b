"""Figures of a simulated map as it grows, packed as the page is sent them."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "helpers"))

from pages import unpack

INTERVAL = 0.2  # s from one to the next


def stages_of(folder):
    """Read what `make_stages` has kept: for each stage its panels."""
    return [_divided(path.read_bytes()) for path in sorted(folder.glob("*.panels"))]


def unpacked_stages_of(folder):
    """Read them as heads and arrays."""
    return [[unpack(panel) for panel in stage] for stage in stages_of(folder)]


def _divided(kept):
    panels, at = [], 0
    while at < len(kept):
        (length,) = struct.unpack_from("<I", kept, at)
        panels.append(kept[at + 4 : at + 4 + length])
        at += 4 + length
    return panels


def make_stages(folder):
    """Measure a map of 39 frames of 64 x 2048 pixels; keep the figures after each frame from the tenth on."""
    from here import reducing_session

    from beamline.operations.demonstrate.techniques import simulated
    from beamline.serve.page.growing import GrowingRun
    from beamline.serve.page.live import panels_of
    from beamline.serve.page.panels import pack
    from beamline.storage.runs import Runs
    from callbacks.contract import Stream
    from plans import rixs_map

    session = reducing_session(simulated(5), folder)
    plan = rixs_map(session.endstation, "526:545:0.5", 300.0, sample="LRNMC 311 mAh/g", edge="O K")
    (uid,) = session.RE(plan).run_start_uids
    assert session.drain() == ""
    session.close()
    runs = Runs(folder)
    entry = runs.find(uid)
    raw_documents, documents = runs.documents(entry), runs.documents(runs.derived(entry))
    raw, derived = GrowingRun(raw_documents[0][1]), GrowingRun(documents[0][1])
    for document in raw_documents[1:]:
        raw.take(*document)
    for name, doc in documents[1:]:
        derived.take(name, doc)
        frames = derived.count(Stream.FRAMES)
        if name == "event" and frames >= 10 and not derived.count(Stream.RESULT):
            derived.cache.clear()
            newest = GrowingRun(raw_documents[0][1])
            for document in raw_documents[1:]:
                newest.take(*document)
                if newest.count(Stream.PRIMARY) == frames:
                    break
            (folder / f"{frames:04}.panels").write_bytes(pack(panels_of(newest, derived)))
