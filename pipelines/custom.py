"""The code location of the experiment whose file is in ``PEDIGREE_EXPERIMENT`` (a name, or a path of a YAML file)."""

import os

from pipelines.definitions import definitions

defs = definitions(os.environ.get("PEDIGREE_EXPERIMENT", "tiny"))
