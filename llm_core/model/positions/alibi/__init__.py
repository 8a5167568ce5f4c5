"""Linear biases."""
