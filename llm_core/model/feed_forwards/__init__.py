"""What follows the mixer in a block: a folder for each kind, with its settings (``spec``) and its module."""
