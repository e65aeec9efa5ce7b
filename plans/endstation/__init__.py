"""What plans measure with: the devices of an endstation, what is asked of each, and when there is light."""

from plans.endstation.devices import (
    CLOSED,
    OPEN,
    Ccd,
    LineScanner,
    Positioner,
    Ring,
    SampleHolder,
    Scaler,
    ZonePlate,
)
from plans.endstation.endstation import Endstation
from plans.endstation.light import Light, below

__all__ = [
    "CLOSED",
    "OPEN",
    "Ccd",
    "Endstation",
    "Light",
    "LineScanner",
    "Positioner",
    "Ring",
    "SampleHolder",
    "Scaler",
    "ZonePlate",
    "below",
]
