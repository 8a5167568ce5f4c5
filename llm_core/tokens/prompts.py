"""Text that nothing has cleaned, for a model: a tokenizer that brings it into the form of the documents first.

All that encodes a prompt, a suite or a question for a model opens the tokenizer here, and an exported one is the same
file: so what a model reads does not depend on who asks it.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llm_core.errors import PedigreeError

FORM = "prompt_form.json"
"""Beside ``tokenizer.json``: the normaliser for prompts, which ``llm_core.tokens.prompt_form`` writes. Documents are in
that form when shards are made of them."""


def prompt_tokenizer(path: Path) -> Tokenizer:
    """The ``tokenizer.json`` at ``path`` for prompts; special tokens that are written out in a text stay text."""
    try:
        tokenizer = Tokenizer.from_str(json.dumps(for_prompts(path)))
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: not a tokenizer: {error}; train it again") from None
    tokenizer.encode_special_tokens = True  # not kept in the file
    return tokenizer


def for_prompts(path: Path) -> dict[str, Any]:
    """What ``tokenizer.json`` says, with the form of prompts before its own normaliser. Without a recorded form (a file
    that no experiment has made), as it is."""
    written: dict[str, Any] = json.loads(path.read_bytes())
    form = path.with_name(FORM)
    if form.is_file():
        steps = [json.loads(form.read_bytes()), *([written["normalizer"]] if written.get("normalizer") else [])]
        written["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return written
