"""How a model is judged: scores on held-out text beside simple baselines, and generations for people to read."""
