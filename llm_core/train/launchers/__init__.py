"""Launchers of training runs: one file per kind."""
