"""In depth: what is below the linked plots, one part per file."""
