"""Leaf helpers that any layer may use: errors, live push, the DRF exception handler. No models, imports no app."""
