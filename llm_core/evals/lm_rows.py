"""What a row of a suite tells ``llm_core.evals.lm`` beside its text."""

PROMPT = "prompt_ids"
"""The token ids of the context, where it is a conversation: control tokens have no text. They are one document."""
STOP = "stop_ids"
"""The tokens that end an answer, beside the end of text."""
