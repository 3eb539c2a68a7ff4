"""How good a value is: the three classes of OPC UA Part 8 status codes. A larger number is worse. Pure."""

GOOD, UNCERTAIN, BAD = range(3)
QUALITY_NAMES = ("good", "uncertain", "bad")
QUALITY_BY_NAME = {name: quality for quality, name in enumerate(QUALITY_NAMES)}
