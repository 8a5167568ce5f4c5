"""Options of the training process of a measurement, without torch."""

WHOLE_LOSS = "PEDIGREE_WHOLE_LOSS"
"""The environment variable with which the loss holds all logits at once."""
HOST_MEMORY = "host_memory.json"
"""In the work folder: the bytes that the process had before it built anything, for Python, torch and what they load."""
