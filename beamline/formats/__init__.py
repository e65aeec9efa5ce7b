"""Files of other programs and instruments: importers and exporters."""
