"""Faults that the platform has to survive (reliability): `make faults` breaks a running platform under load and counts."""
