"""Folders for ``transformers`` that bring the code of their model along."""
