"""The components of a model. In an exported folder, this file imports them, so that ``transformers`` fetches theirs."""
