"""The databroker catalogue of a data folder: filled from the logs by a process of its own, searched, and recovered."""
