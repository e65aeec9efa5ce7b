"""What a user can do, once, for the command line, Python and a service alike: gives data, never prints.

Each operation is a module of its own, for the sake of what it has to import: `measure`, `replay`, `importing`,
`exporting`, `report`, `analyse`, `recover`, `runs`, `check`, `demonstrate`, `simulated_ioc`; `progress` says how far it
is.
"""
