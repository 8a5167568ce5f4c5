"""What trains a model: a file for each type of device."""
