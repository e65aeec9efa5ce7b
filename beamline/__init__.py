"""The endstation: configuration, devices, engine, storage, import and export, command line."""
