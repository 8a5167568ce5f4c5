"""Tokenizer, token shards, and the loader."""
