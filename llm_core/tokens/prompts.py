"""The tokenizer for prompts: it brings text that nothing has cleaned into the form of the documents, then encodes it.

All code that encodes a prompt, a suite or a question for a model opens the tokenizer here. An exported tokenizer is the
same file. So a model reads the same ids, whoever asks it.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llm_core.errors import PedigreeError

FORM = "prompt_form.json"
"""The file beside ``tokenizer.json`` with the normaliser for prompts (``llm_core.tokens.prompt_form`` writes it).
Documents are in that form before shards are made."""


def prompt_tokenizer(path: Path) -> Tokenizer:
    """The ``tokenizer.json`` at ``path`` for prompts. It reads special tokens that are written in a text as text."""
    try:
        tokenizer = Tokenizer.from_str(json.dumps(for_prompts(path)))
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: not a tokenizer: {error}; train it again") from None
    tokenizer.encode_special_tokens = True  # not kept in the file
    return tokenizer


def for_prompts(path: Path) -> dict[str, Any]:
    """The content of ``tokenizer.json``, with the normaliser for prompts before its own. Unchanged if there is no file
    with that normaliser (no experiment made this tokenizer)."""
    written: dict[str, Any] = json.loads(path.read_bytes())
    form = path.with_name(FORM)
    if form.is_file():
        steps = [json.loads(form.read_bytes()), *([written["normalizer"]] if written.get("normalizer") else [])]
        written["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return written
