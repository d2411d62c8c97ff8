"""Views: one part of the page per file. No torch."""
