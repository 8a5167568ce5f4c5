"""Fills in the sections ``model`` and ``tokenizer`` of an experiment that starts from a finished model."""

import json
from typing import Any

from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import from_plain
from llm_core.experiment.start import StartSpec


def with_start(data: dict[str, Any]) -> dict[str, Any]:
    """``data``, the sections of an experiment, with those of its start where they are left out.

    A section ``model`` without ``d_model`` and ``preset`` overrides single fields of the start's. Raises
    ``PedigreeError`` when the start can't be read; what is wrong in the section ``start`` is told later.
    """
    model, tokenizer = data.get("model") or {}, data.get("tokenizer") or {}
    if not (isinstance(model, dict) and isinstance(tokenizer, dict) and isinstance(data.get("start"), dict)):
        return data
    needs_model = not model.keys() & {"d_model", "preset"}
    needs_tokenizer = "kind" not in tokenizer
    if not (needs_model or needs_tokenizer):
        return data
    try:
        start = from_plain(StartSpec, data["start"])
    except ValidationError:
        return data
    from llm_core.model.start_files import TOKENIZER, described, find, special_tokens
    from llm_core.tokens.byte_level import ByteLevelBPE

    found = find(start, ask=True, whole=False)
    there = described(found)
    if needs_model:
        model = {**json.loads(there.spec.model_dump_json()), **model}
    if needs_tokenizer:
        if TOKENIZER not in found.files:
            raise PedigreeError(
                f"{found.place}: has no {TOKENIZER}, so say which tokenizer is its own: tokenizer: {{kind: imported, "
                f"imported: {{file: …}}, vocab_size: {there.vocab_size}, special_tokens: […]}}"
            )
        path = found.files[TOKENIZER]
        tokenizer = {
            "kind": "imported",
            "imported": {"file": str(path)},
            "vocab_size": there.vocab_size,
            "special_tokens": special_tokens(found, ByteLevelBPE.read(path).special),
            **tokenizer,
        }
    return {**data, "model": model, "tokenizer": tokenizer}
