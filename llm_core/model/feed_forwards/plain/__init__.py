"""Feed-forwards of two matrices."""
