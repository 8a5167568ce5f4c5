"""The typed experiment: one YAML file → one checked object."""

RUNTIME_ONLY = True
