"""A tokenizer as a file: how it is opened, and what every stage needs to know of it."""

from pathlib import Path

from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec


def special_tokens(spec: TokenizerSpec) -> list[str]:
    """The special tokens in the order of their ids, from 0; the first one ends every document."""
    named = spec.byte_fallback or spec.unk_token in spec.special_tokens
    unknown = [] if named else [spec.unk_token]
    return [*spec.special_tokens, *unknown]


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in ``tokenizer.json``; special tokens that are written out in a text stay text."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: not a tokenizer: {error}; train it again") from None
    tokenizer.encode_special_tokens = True  # not kept in the file
    return tokenizer


def came_back(tokenizer: Tokenizer, decoded: str, text: str) -> bool:
    """Whether ``text`` is what its ids were decoded to; for a tokenizer that normalises, up to its normal form."""
    if decoded == text or tokenizer.normalizer is None:
        return decoded == text
    first, second = (tokenizer.normalizer.normalize_str(one) for one in (decoded, text))
    return bool(first == second)


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that stands for every byte without an entry of its own; None where all bytes have one."""
    token: str | None = tokenizer.model.unk_token
    found: int | None = None if token is None else tokenizer.token_to_id(token)
    return found


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """One more than the highest id: imported vocabularies have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def learned_entries(tokenizer: Tokenizer) -> list[int]:
    """The ids of what merging made, in order: all but special tokens and single bytes."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return sorted(number for name, number in tokenizer.get_vocab().items() if len(name) > 1 and name not in special)


def end_of_text(tokenizer: Tokenizer, path: Path) -> int:
    """The id that ends every document: the lowest special one. ``path`` is for the message of ``PedigreeError``."""
    special = sorted(number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    if not special:
        raise PedigreeError(f"{path}: has no special token, so nothing ends a document; train the tokenizer again")
    return special[0]
