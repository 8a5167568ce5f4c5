"""Redactions: pieces of texts that are removed or replaced before rules judge the texts."""
