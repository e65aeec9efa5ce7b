"""What is computed while it is measured: the reduction of XAS, RIXS and STXM data, and the vocabulary of all of it."""
