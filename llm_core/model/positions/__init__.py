"""How a model learns where a token stands: a folder for each way, with its settings (``spec``) and its module."""
