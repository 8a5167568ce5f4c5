"""Local files of many formats."""
