"""The tokenizer of an exported folder: its file, and those that tell ``transformers`` of its special tokens."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import PedigreeError
from llm_core.tokens.prompts import FORM, for_prompts
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer, unknown_id, vocabulary_size

_README = """# Text for this model

`tokenizer.json` brings the characters of texts into the form of the documents that the model was trained on: Unicode's
form, quotation marks, case, and which kinds of characters there are (its `normalizer`).

Documents also had no white space at the end of a line, never more than one empty line between two others, and no white
space at either end. The tokenizer leaves these as they are: a prompt that ends in a space still does. Nor does it leave
out what rules of the cleaning took out of documents (addresses, say).
"""


class TokenizerFiles(NamedTuple):
    """``texts``: file name → content. ``end_id``: the token between documents, which begins and ends each text."""

    texts: dict[str, str]
    end_id: int


def tokenizer_files(tokenizer: Path, vocab_size: int, length: int) -> TokenizerFiles:
    """The files for our ``tokenizer.json``, whose tokenizer then puts the end-of-text token before a text.

    Training has that token before each document. ``length``: tokens of the longest text. Raises ``PedigreeError`` for a
    tokenizer with more than ``vocab_size`` ids.
    """
    opened = load_tokenizer(tokenizer)
    if vocabulary_size(opened) > vocab_size:
        raise PedigreeError(
            f"{tokenizer}: has {vocabulary_size(opened)} ids, but the model has {vocab_size}; use the tokenizer that "
            "the model was trained with"
        )
    end_id = end_of_text(opened, tokenizer)
    # The token that ends a document also begins a text, and fills up batches. The unknown token replaces bytes without
    # an entry.
    roles = {"bos_token": end_id, "eos_token": end_id, "pad_token": end_id, "unk_token": unknown_id(opened)}
    tokens = {role: str(opened.id_to_token(number)) for role, number in roles.items() if number is not None}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
    }
    content = _with_beginning(for_prompts(tokenizer), tokens["bos_token"], end_id)
    texts = {
        "tokenizer.json": json.dumps(content, ensure_ascii=False),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(tokens),
    }
    if tokenizer.with_name(FORM).is_file():
        texts["README.md"] = _README
    return TokenizerFiles(texts, end_id)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _with_beginning(written: dict[str, Any], token: str, number: int) -> dict[str, Any]:
    """The tokenizer with ``token`` before each text. Unchanged if its post-processor already has a template."""
    before = written.get("post_processor")
    steps = [] if before is None else before["processors"] if before["type"] == "Sequence" else [before]
    if any(step["type"] == "TemplateProcessing" for step in steps):
        return written
    first = {"SpecialToken": {"id": token, "type_id": 0}}
    texts = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
    template = {
        "type": "TemplateProcessing",
        "single": [first, texts[0]],
        "pair": [first, *texts],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
    return {**written, "post_processor": {"type": "Sequence", "processors": [*steps, template]} if steps else template}
