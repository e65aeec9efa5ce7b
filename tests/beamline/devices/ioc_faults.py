"""The fault switches of the IOC, and the documents of a session."""

import epics

SWITCHES = ("HangCamera", "StallWriter", "NanI0", "DumpBeam", "CloseFrontEnd")


def switch(name, value):
    assert epics.caput(f"SIM:Fault:{name}", value, wait=True, timeout=5) == 1, name


def clear_faults():
    if epics.caget("SIM:Ready", timeout=5) != 1:
        return
    for name in SWITCHES:
        switch(name, "Off")
    switch("FreezeMotor", "")


class Documents:
    """The documents of runs as they were recorded."""

    def __init__(self, session):
        self.all = []
        session.RE.subscribe(lambda name, doc: self.all.append((name, doc)))

    def of(self, kind):
        return [doc for name, doc in self.all if name == kind]

    def events(self, stream="primary"):
        descriptors = {doc["uid"] for doc in self.of("descriptor") if doc["name"] == stream}
        return [doc for doc in self.of("event") if doc["descriptor"] in descriptors]

    @property
    def stop(self):
        (stop,) = self.of("stop")
        return stop
