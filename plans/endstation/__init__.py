"""What plans measure with: the devices of an endstation, what is asked of each, and when there is light."""

from plans.endstation import needs
from plans.endstation.devices import (
    CLOSED,
    OPEN,
    Ccd,
    Counter,
    EnergySweep,
    Feedback,
    LineScanner,
    Polarisation,
    Positioner,
    Question,
    Ring,
    SampleHolder,
    ZonePlate,
)
from plans.endstation.endstation import COUNTERS, ROLES, Endstation, lacking
from plans.endstation.light import Light, below
from plans.endstation.needs import TECHNIQUES, Needs, needing
from plans.endstation.promised import kept
from plans.endstation.truth import Truth

__all__ = [
    "CLOSED",
    "COUNTERS",
    "OPEN",
    "ROLES",
    "TECHNIQUES",
    "Ccd",
    "Counter",
    "Endstation",
    "EnergySweep",
    "Feedback",
    "Light",
    "LineScanner",
    "Needs",
    "Polarisation",
    "Positioner",
    "Question",
    "Ring",
    "SampleHolder",
    "Truth",
    "ZonePlate",
    "below",
    "kept",
    "lacking",
    "needing",
    "needs",
]
