"""How dates and times are written where Django formats them: the admin."""
