"""Read and write the file formats of other programs and instruments; see `importers` and `exporters`."""
