"""End members, chemical maps, and the analysis of one stack or of several pooled."""
