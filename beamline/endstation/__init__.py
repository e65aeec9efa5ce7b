"""The endstation: its configuration, and the devices that are built from it and connected.

Building imports bluesky, which takes time, so it stays in its modules: `build.build_endstation`, `connect.connect`. The
ophyd classes for real hardware are in `devices`.
"""

from beamline.endstation.config import EPICS, SIMULATED, ChannelAccess, Config, Suspenders, load_config, resolve_class

__all__ = [
    "EPICS",
    "SIMULATED",
    "ChannelAccess",
    "Config",
    "Suspenders",
    "load_config",
    "resolve_class",
]
