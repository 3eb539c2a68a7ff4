"""Sites, device types, metrics, devices and their credentials. Called by telemetry, alerting and everything above."""
