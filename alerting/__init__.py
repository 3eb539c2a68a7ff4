"""Alerts grouped into incidents that people work on. Takes a neutral `AlertSignal`; knows neither rules nor ml."""
