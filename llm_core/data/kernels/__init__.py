"""Compiled loops over the bytes of a text column: what polars expressions can't say, or say too slowly."""
