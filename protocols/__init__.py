"""Doors to the plant: listeners, codecs and the one pipeline from a raw message to stored readings."""
