"""Measured data of other instruments, turned into raw runs."""
