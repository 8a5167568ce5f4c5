"""What can be set in an experiment: as a page for people, and as a JSON schema for editors."""
