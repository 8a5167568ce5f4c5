"""Normalisation: settings (``spec``) and modules."""
