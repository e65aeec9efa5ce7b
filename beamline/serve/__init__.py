"""The service: a supervisor of the processes that measure, reduce, catalogue and show, and those that only it needs."""
