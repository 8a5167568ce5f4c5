"""The number of bytes of text that each token id stands for. numpy only: the training path imports this module."""

import json
from pathlib import Path

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.tokens.alphabet import ALPHABET


def byte_lengths(path: Path, vocab_size: int) -> np.ndarray:
    """int64 of shape (``vocab_size``,): the bytes of each entry of the ``tokenizer.json`` at ``path``.

    A special token counts 0 bytes, and so does an id without an entry. Another added token counts the bytes of its
    text. The unknown token counts 1, because it stands for one byte. Raises ``PedigreeError`` for a file that is not
    byte-level BPE, or that has an id of ``vocab_size`` or above.
    """
    try:
        written = json.loads(path.read_bytes())
        model = written["model"]
        vocab: dict[str, int] = model["vocab"]
        added_tokens = written.get("added_tokens") or []
        added: dict[str, int] = {token["content"]: token["id"] for token in added_tokens}
        texts = {token["content"] for token in added_tokens if not token["special"]}
        if model["type"] != "BPE" or model.get("fuse_unk"):
            raise PedigreeError(f"{path}: a tokenizer of type {model['type']}; only byte-level BPE has bytes per entry")
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PedigreeError(f"{path}: not a tokenizer.json: {error!r}") from None
    lengths, bytes_of = np.zeros(vocab_size, dtype=np.int64), frozenset(ALPHABET)
    highest = max([*vocab.values(), *added.values()], default=0)
    if highest >= vocab_size:
        raise PedigreeError(f"{path}: has the id {highest}, and the token shards only {vocab_size} ids")
    for entry, number in vocab.items():
        if entry in added:
            continue
        if not bytes_of.issuperset(entry):
            raise PedigreeError(f"{path}: not byte-level: the entry {entry!r} stands for no bytes")
        lengths[number] = len(entry)
    for token in texts:
        lengths[added[token]] = len(token.encode())
    unknown = model.get("unk_token")
    if unknown is not None:
        lengths[vocab.get(unknown, added.get(unknown))] = 1
    return lengths
