"""What a run does beside training: each a class with a state of its own, called by the loop."""
