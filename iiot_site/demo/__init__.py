"""The demo: two tenants with people, plants, devices and rules, and a simulator that drives the devices."""
