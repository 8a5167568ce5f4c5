"""Opening a ``tokenizer.json``, and the facts about it that several stages need."""

from pathlib import Path

from tokenizers import Tokenizer

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec


def special_tokens(spec: TokenizerSpec) -> list[str]:
    """The special tokens; their ids count from 0 in this order. The first one ends every document."""
    named = spec.byte_fallback or spec.unk_token in spec.special_tokens
    unknown = [] if named else [spec.unk_token]
    return [*spec.special_tokens, *unknown]


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``. It reads special tokens that are written in a text as ordinary text."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: not a tokenizer: {error}; train it again") from None
    tokenizer.encode_special_tokens = True  # not kept in the file
    return tokenizer


def came_back(tokenizer: Tokenizer, decoded: str, text: str) -> bool:
    """Whether ``decoded`` equals ``text``; if the tokenizer normalises, whether their normal forms are equal."""
    if decoded == text or tokenizer.normalizer is None:
        return decoded == text
    first, second = (tokenizer.normalizer.normalize_str(one) for one in (decoded, text))
    return bool(first == second)


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the unknown token, which stands for a byte without an entry; None if every byte has one."""
    token: str | None = tokenizer.model.unk_token
    found: int | None = None if token is None else tokenizer.token_to_id(token)
    return found


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """One more than the highest id: imported vocabularies have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def learned_entries(tokenizer: Tokenizer) -> list[int]:
    """The ids of the entries that merges make, ascending: all but special tokens and single bytes."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return sorted(number for name, number in tokenizer.get_vocab().items() if len(name) > 1 and name not in special)


def end_of_text(tokenizer: Tokenizer, path: Path) -> int:
    """The id that ends every document: the lowest special one. ``path`` is for the message of ``PedigreeError``."""
    special = sorted(number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    if not special:
        raise PedigreeError(f"{path}: has no special token, so nothing ends a document; train the tokenizer again")
    return special[0]
