"""The code location of the experiment ``one_billion``."""

from pipelines.definitions import definitions

defs = definitions("one_billion")
