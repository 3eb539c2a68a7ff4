"""MQTT 3.1.1: the listener and the broker's logins."""
