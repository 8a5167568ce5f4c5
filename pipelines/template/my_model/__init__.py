"""The components of this project."""
