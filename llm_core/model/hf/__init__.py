"""Hugging Face folders: the same models under other names. One family of architectures a file."""
