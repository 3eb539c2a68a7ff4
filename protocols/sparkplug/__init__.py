"""Sparkplug B over MQTT: births name metrics and give them aliases, data uses the aliases, deaths end it (Sparkplug 3.0)."""
