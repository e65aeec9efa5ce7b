"""Principal components of a stack, and how many of them are more than noise."""
