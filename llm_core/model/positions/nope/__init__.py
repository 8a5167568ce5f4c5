"""No positions."""
