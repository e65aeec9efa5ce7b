"""Steps of the RIXS reduction, one module a step."""
