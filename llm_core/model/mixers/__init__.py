"""What lets tokens see each other: a folder for each kind, with its settings (``spec``) and its module."""
