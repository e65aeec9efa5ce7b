"""Steps of the XAS reduction."""
