"""The error of a measurement that cannot be made as asked."""


class PlanError(ValueError):
    """What was asked for cannot be measured: what was seen and what was expected, on one line."""
