"""Passages that a model reads before it answers, and what they bring."""
