"""The quality classifier, which is trained in the graph: its examples, its training, and its verdicts."""
