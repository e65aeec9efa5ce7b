"""Measuring: the engine with its recorder, the live feed, safety, suspenders, scan numbers."""
