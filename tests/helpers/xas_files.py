"""An absorption spectrum as others measure one, to be written in their formats, and what becomes of it."""

import numpy as np

from beamline.formats.importers.kind import Request
from beamline.formats.importers.kinds import kind_of
from beamline.storage.log import pack
from beamline.techniques import pipelines
from callbacks.contract import Stream, XasResult
from callbacks.reduction import Reducer

ENERGY = np.concatenate([np.arange(520, 527, 0.5), np.arange(527, 541, 0.1), np.arange(541, 566, 0.5)]).round(2)
MU = 0.3 + 0.5 + np.arctan((ENERGY - 535.0) / 0.6) / np.pi + 0.7 * np.exp(-0.5 * ((ENERGY - 530.8) / 0.5) ** 2)
SETTINGS = {"xas": {"pre_edge": (520.0, 526.0), "post_edge": (550.0, 566.0)}}


def counted(seed=0):
    """What a scaler counted: I0, TEY, and what was transmitted."""
    rng = np.random.default_rng(seed)
    return rng.poisson(1e6, len(ENERGY)), rng.poisson(2e5 * MU), rng.poisson(5e5 * np.exp(-MU))


def imported(path, **options):
    """The documents of a file, by the kind that it is recognised as; as many runs as there are."""
    request = Request(path, path.parent / "frames", **options)
    runs = []
    for name, doc in kind_of(path).documents(request):
        pack(name, doc)
        if name == "start":
            runs.append([])
        runs[-1].append((name, doc))
    return runs


def events_of(run):
    """The data of the events, an array for each key."""
    events = [doc["data"] for name, doc in run if name == "event"]
    return {key: np.array([event[key] for event in events]) for key in events[0]}


def reduced(run, settings=None):
    """The result of the reduction."""
    found = []
    reducer = Reducer(lambda name, doc: found.append((name, doc)), pipelines(), settings or SETTINGS)
    for name, doc in run:
        reducer(name, doc)
    named = {doc["uid"]: doc["name"] for name, doc in found if name == "descriptor"}
    (event,) = (doc for name, doc in found if name == "event" and named[doc["descriptor"]] == Stream.RESULT)
    return XasResult.read(event["data"])
