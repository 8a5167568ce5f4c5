"""The tokenizer of a GGUF file: byte-level BPE as llama.cpp reads it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.model.gguf.patterns import pre_tokenizer
from llm_core.tokens.byte_level import ByteLevelBPE, entry_name
from llm_core.tokens.prompts import FORM
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer, vocabulary_size

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
"""Types of tokens."""


def vocabulary(path: Path, vocab_size: int, template: str | None = None, stop: Sequence[int] = ()) -> dict[str, Any]:
    """Key → value for our ``tokenizer.json``. ``template``: the chat template in Jinja. ``stop``: the ids that end an
    answer; beside the end of text, llama.cpp has places for two.

    llama.cpp puts the end-of-text token before a text, as training does. Raises ``PedigreeError`` for a tokenizer with
    more ids than the model, or one that llama.cpp can't have.
    """
    read, opened = ByteLevelBPE.read(path), load_tokenizer(path)
    found = vocabulary_size(opened)
    if found > vocab_size:
        raise PedigreeError(
            f"{path}: has {found} ids, but the model has {vocab_size}; use the tokenizer of its training"
        )
    name = pre_tokenizer(read.pattern, read.whole_pieces)
    reasons = [
        *([f"its pattern {read.pattern} is none of llama.cpp's"] if name is None else []),
        *(["it cuts texts in several steps"] if read.before else []),
        *(["it has an unknown token, and not all bytes have an entry"] if read.unknown is not None else []),
    ]
    if reasons:
        raise PedigreeError(f"{path}: llama.cpp can't have this tokenizer: {'; '.join(reasons)}")
    # The model may have more ids than the tokenizer, and imported vocabularies have gaps.
    tokens, types = [f"<|unused_{number}|>" for number in range(vocab_size)], [UNUSED] * vocab_size
    entries = {entry_name(entry): number for entry, number in read.vocab.items()}
    ordinary = {token: given.number for token, given in read.ordinary.items()}
    for kind, names in ((NORMAL, entries), (CONTROL, read.special), (USER_DEFINED, ordinary)):
        for token, number in names.items():
            tokens[number], types[number] = token, kind
    end = end_of_text(opened, path)
    ends = {f"tokenizer.ggml.{role}_token_id": end for role in ("bos", "eos", "padding")}
    others = [number for number in stop if number != end]
    if len(others) > 2:
        raise PedigreeError(
            f"{path}: llama.cpp can't have this chat template: beside the end of text, it has places for two tokens "
            f"that end an answer, and the template has {', '.join(tokens[number] for number in others)}"
        )
    ends |= {f"tokenizer.ggml.{role}_token_id": number for role, number in zip(("eot", "eom"), others, strict=False)}
    return {
        "tokenizer.ggml.model": "gpt2",  # byte-level BPE
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [f"{entry_name(left)} {entry_name(right)}" for left, right in read.merges],
        **ends,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        **({} if template is None else {"tokenizer.chat_template": template}),
    }


def not_brought(path: Path) -> str | None:
    """What llama.cpp does not do to texts and the tokenizer of the folder for transformers does; None if nothing."""
    written = json.loads(path.read_bytes())
    if not written.get("normalizer") and not path.with_name(FORM).is_file():
        return None
    return (
        "llama.cpp does not bring texts into the form of the training documents (quotation marks, Unicode's form, "
        "case), so texts in another form may have other token ids there"
    )
