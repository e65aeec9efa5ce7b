"""What is computed while it is measured: reduction of XAS and RIXS data."""
