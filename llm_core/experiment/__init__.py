"""The typed experiment: one YAML file → one checked object."""
