"""Compiled loops over the bytes of a text column, for what polars can't express or is too slow for."""
