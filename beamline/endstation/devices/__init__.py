"""The devices of the endstation on EPICS, over Channel Access, and what another one is made of.

Soft twins of them are in `simulated_devices.twins`.
"""

from beamline.endstation.devices.signals import Field, Reading, Setting, SoftSetting, check_limits
from beamline.endstation.devices.task import DeviceError, StoppedError, TaskDevice, TaskStatus
from beamline.endstation.devices.waits import in_parallel, put_and_wait, put_without_waiting, wait_for

__all__ = [
    "DeviceError",
    "Field",
    "Reading",
    "Setting",
    "SoftSetting",
    "StoppedError",
    "TaskDevice",
    "TaskStatus",
    "check_limits",
    "in_parallel",
    "put_and_wait",
    "put_without_waiting",
    "wait_for",
]
