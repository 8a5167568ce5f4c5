"""Conversations: templates, tokens with an exact target mask, and what tunes a model on them."""
