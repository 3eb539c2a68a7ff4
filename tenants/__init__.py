"""Tenants, users, memberships, roles and API keys: who may act where. Shared schema; every other app may call it."""
