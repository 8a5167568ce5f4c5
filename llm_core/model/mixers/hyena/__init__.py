"""Hyena."""
