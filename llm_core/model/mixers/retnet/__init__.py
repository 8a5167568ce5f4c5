"""Retention, the mixer of RetNet."""
