"""Measuring: the session (engine, recorder, live reduction, suspenders) and what is checked before a plan starts.

It imports bluesky and matplotlib, which takes time, so import what is needed from its module: `session.Session`,
`session.measure` and `session.measure_all`, `safety.assess`, `references.processing_with_references`,
`watcher.Watcher`, `scan_numbers.ScanNumbers`.
"""
