"""From counts to optical density: sample-free pixels and the incident flux."""
