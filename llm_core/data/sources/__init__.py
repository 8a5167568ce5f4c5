"""Sources of documents: a folder per kind of source, a file per format."""
