"""The code location of the experiment ``tiny``."""

from pipelines.definitions import definitions

defs = definitions("tiny")
