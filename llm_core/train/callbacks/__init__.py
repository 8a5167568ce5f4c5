"""Callbacks: what a run does in addition to training."""
