"""Demonstrations on the simulated endstation, compared with the simulated truth."""
