"""What moves the weights: a folder for each kind, with its settings (``spec``) and the optimiser."""
