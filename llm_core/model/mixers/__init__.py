"""Mixers, which exchange information between tokens: a folder per kind, with its settings (``spec``) and its module."""
