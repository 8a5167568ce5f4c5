"""How the learning rate changes over a run: a file for each kind."""
