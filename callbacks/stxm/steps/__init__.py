"""The steps of a STXM reduction: thin classes with the running state, on top of the other rooms."""
