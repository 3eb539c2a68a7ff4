"""Conditions of rules and their evaluation: plain values in, decisions out. Pure.

A new type of condition is a frozen struct in a module of its own with `metric_keys`, `is_met` and `describe`,
and one more line in the union `Condition` in `rules.conditions.parsing`.
"""
