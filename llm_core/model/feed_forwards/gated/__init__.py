"""Gated feed-forwards."""
