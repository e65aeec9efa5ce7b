"""Runs written in the file formats of other programs."""
