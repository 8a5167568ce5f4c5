"""Documents judged by a classifier that is trained in the graph: its examples, its training, and its verdicts."""
