"""Fits that XAS and STXM share: non-negative least squares, linear combinations, variable projection."""
