"""Machines that the platform calls by itself, tenant by tenant: where they are and what to read there. Called by protocols."""
