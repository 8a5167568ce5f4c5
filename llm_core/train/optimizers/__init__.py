"""Optimisers: one folder per kind, with its settings (``spec.py``) and the optimiser."""
