"""What is found out before anything moves: whether a plan can be measured, and what it will do."""

from plans.checks.estimate import Estimate, estimate
from plans.checks.polarisation import check_polarisation
from plans.checks.preflight import (
    check_beamline,
    check_choice,
    check_count,
    check_counting_time,
    check_dark,
    check_positive,
    check_reachable,
)

__all__ = [
    "Estimate",
    "check_beamline",
    "check_choice",
    "check_count",
    "check_counting_time",
    "check_dark",
    "check_polarisation",
    "check_positive",
    "check_reachable",
    "estimate",
]
