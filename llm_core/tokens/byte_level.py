"""The written form of byte-level BPE: what ``tokenizer.json`` says, taken apart and put together.

In that form every byte is one printable character (Radford et al., 2019), and so is every byte of a vocabulary entry.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from llm_core.errors import PedigreeError
from llm_core.tokens.alphabet import ALPHABET
from llm_core.tokens.patterns import PATTERNS

_BYTES = {character: byte for byte, character in enumerate(ALPHABET)}


def entry_name(entry: bytes) -> str:
    """The name of a vocabulary entry: one character a byte."""
    return "".join(ALPHABET[byte] for byte in entry)


def entry_bytes(name: str) -> bytes:
    """The bytes of an entry; raises ``KeyError`` for a name with a character that stands for no byte."""
    return bytes(_BYTES[character] for character in name)


@dataclass(frozen=True)
class ByteLevelBPE:
    """A byte-level BPE in its parts.

    ``vocab``: entry → id, without special tokens. ``merges``: pairs of entries, the first merged first. ``special``:
    special token → id. ``pattern``: the regular expression that cuts text. ``whole_pieces``: a piece of text that is an
    entry becomes that entry, even where merging would not lead there.
    """

    vocab: Mapping[bytes, int]
    merges: Sequence[tuple[bytes, bytes]]
    special: Mapping[str, int]
    pattern: str
    whole_pieces: bool = False

    @classmethod
    def read(cls, path: Path) -> "ByteLevelBPE":
        """The contents of a ``tokenizer.json``; raises ``PedigreeError`` that says what is not byte-level BPE in it."""
        try:
            written = json.loads(path.read_bytes())
            model = written["model"]
            kind = model["type"]
        except FileNotFoundError:
            raise PedigreeError(f"{path}: there is no such file") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise PedigreeError(f"{path}: not a tokenizer.json: {error!r}") from None
        if kind != "BPE":
            raise PedigreeError(f"{path}: a tokenizer of type {kind}; only byte-level BPE is supported")
        try:
            _refuse(path, written, model)
            special = {token["content"]: token["id"] for token in written.get("added_tokens") or []}
            vocab = {entry_bytes(name): number for name, number in model["vocab"].items() if name not in special}
            merges = [(entry_bytes(left), entry_bytes(right)) for left, right in map(_pair, model["merges"])]
        except (KeyError, ValueError) as error:
            raise PedigreeError(f"{path}: not byte-level: {error!r} stands for no bytes") from None
        except (AttributeError, TypeError) as error:
            raise PedigreeError(f"{path}: not a tokenizer.json: {error}") from None
        numbers = [*vocab.values(), *special.values()]
        strange = [number for number in numbers if type(number) is not int or number < 0]
        if strange:
            raise PedigreeError(f"{path}: not a tokenizer.json: the id {strange[0]!r} is no number from 0 on")
        if len(set(numbers)) != len(numbers):
            raise PedigreeError(f"{path}: two entries of the vocabulary share an id")
        return cls(
            vocab, merges, special, _pattern(path, written.get("pre_tokenizer")), bool(model.get("ignore_merges"))
        )

    def tokenizer(self, unknown: str | None = None) -> Tokenizer:
        """The same as a tokenizer; special tokens that are written out in a text stay text.

        ``unknown``: the special token that stands for bytes without an entry.
        """
        vocab = {entry_name(entry): number for entry, number in self.vocab.items()}
        merges = [(entry_name(left), entry_name(right)) for left, right in self.merges]
        model = models.BPE({**vocab, **self.special}, merges, ignore_merges=self.whole_pieces, unk_token=unknown)
        made = Tokenizer(model)
        split = pre_tokenizers.Split(Regex(self.pattern), behavior="isolated")
        in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
        made.decoder = decoders.ByteLevel()
        by_id = sorted(self.special, key=self.special.__getitem__)
        made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in by_id])
        made.encode_special_tokens = True
        return made


def _pair(merge: str | list[str]) -> list[str]:
    """Both ways in which files write a merge: two names, or one string with a space between them."""
    return merge.split(" ") if isinstance(merge, str) else merge


def _refuse(path: Path, written: dict[str, Any], model: dict[str, Any]) -> None:
    """Raise for settings under which ids would not follow from vocabulary, merges and pattern alone."""
    for holder, name in (
        (written, "normalizer"),
        (written, "truncation"),
        (written, "padding"),
        (model, "dropout"),
        (model, "unk_token"),
        (model, "continuing_subword_prefix"),
        (model, "end_of_word_suffix"),
        (model, "byte_fallback"),
    ):
        if holder.get(name):
            raise PedigreeError(f"{path}: has {name!r} set ({str(holder[name])[:80]}); plain byte-level BPE has not")
    ordinary = [token["content"] for token in written.get("added_tokens") or [] if not token.get("special")]
    if ordinary:
        raise PedigreeError(f"{path}: the added token {ordinary[0]!r} is not special: it would be cut out of any text")
    missing = [name for name in ("vocab", "merges") if name not in model]
    if missing:
        raise PedigreeError(f"{path}: not a tokenizer.json: its model has no {missing[0]!r}")


def _pattern(path: Path, written: Any) -> str:
    """The regular expression of the pre-tokenizers that byte-level BPE is written with."""
    sequence = isinstance(written, dict) and written.get("type") == "Sequence"
    steps = written.get("pretokenizers") if sequence else [written]
    match steps:
        case [{"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}]:
            return PATTERNS["gpt2"]
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "use_regex": False, "add_prefix_space": False},
        ]:
            return pattern
    raise PedigreeError(f"{path}: cuts text by other means than one regular expression before bytes: {written}")
