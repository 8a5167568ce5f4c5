"""What every component must keep to, as checks that the author of a plug-in runs on it (``plugin``)."""
