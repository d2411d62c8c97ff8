"""Per-head attention metrics, one per file; a file registers itself."""
