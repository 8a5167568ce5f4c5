"""The documentation that is installed with Python and its packages."""
