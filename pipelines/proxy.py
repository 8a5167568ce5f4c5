"""The code location of the experiment ``proxy``."""

from pipelines.definitions import definitions

defs = definitions("proxy")
