"""How a model learns where a token stands: one way a file."""
