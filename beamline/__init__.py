"""The endstation: its devices, its engine, where data are kept, import, export, report, command line."""
