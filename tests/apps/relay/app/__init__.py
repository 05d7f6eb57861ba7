"""Hands news feeds on as JSON."""
