"""Rules decide from readings what is wrong; each change of a rule's state becomes an `AlertSignal`."""
