"""The devices of the endstation on EPICS, over Channel Access; soft twins of them are in `simulated_devices`."""
