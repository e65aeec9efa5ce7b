"""The simulated endstation as an EPICS IOC: the physics of the soft twins, served over Channel Access."""
