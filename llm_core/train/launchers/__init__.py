"""Where training runs happen: a file for each launcher."""
