"""Where data are kept and read back: the data folder, logs, frames, derived runs, and the catalogue."""
