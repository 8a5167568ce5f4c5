"""Training: a process of its own that needs torch, numpy, pydantic and one JSON file; and the stage that starts it."""
