"""Positions that are added to the embedding."""
