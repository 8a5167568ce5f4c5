"""The settings of an experiment, as a page of the documentation and as a JSON schema for editors."""
