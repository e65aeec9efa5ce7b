"""The fault switches of the IOC."""

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
    switch("Alarm", "")
    switch("ClockOffset", 0.0)
