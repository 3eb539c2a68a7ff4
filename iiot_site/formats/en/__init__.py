"""English words, ISO 8601 times."""
