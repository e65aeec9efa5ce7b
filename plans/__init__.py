"""What to measure: Bluesky plans of the endstation."""
