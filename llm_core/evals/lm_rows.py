"""What a row of a suite tells ``llm_core.evals.lm`` beside its text, and how both read that text."""

from tokenizers import Tokenizer

PROMPT = "prompt_ids"
"""The token ids of the context, where it is a conversation: control tokens have no text. They are one document."""
STOP = "stop_ids"
"""The tokens that end an answer, beside the end of text."""


def encode_pair(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Both as ids. White space at the end of a context moves to the continuation, as everywhere in lm-eval.

    It is searched after normalising, because removed characters may follow it.
    """
    form, whole = tokenizer.normalizer, context + continuation
    if form is not None:
        context, whole = form.normalize_str(context), form.normalize_str(whole)
    before: list[int] = tokenizer.encode(context.rstrip(), add_special_tokens=False).ids
    return before, tokenizer.encode(whole, add_special_tokens=False).ids[len(before) :]
