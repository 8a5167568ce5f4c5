"""Position encodings: a folder for each kind, with its settings (``spec``) and its module."""
