"""Where attention drains to, why, and what is left without it."""
