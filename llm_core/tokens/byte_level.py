"""Byte-level BPE as ``tokenizer.json`` has it: reading the file into its parts, and making a tokenizer from the parts.

The file writes every byte of a vocabulary entry as one printable character (Radford et al., 2019).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from llm_core.errors import PedigreeError
from llm_core.tokens.alphabet import ALPHABET
from llm_core.tokens.steps import Digits, as_normalizer, cuts, normal_form

_BYTES = {character: byte for byte, character in enumerate(ALPHABET)}


def entry_name(entry: bytes) -> str:
    """The name of a vocabulary entry in the file: one character per byte."""
    return "".join(ALPHABET[byte] for byte in entry)


def entry_bytes(name: str) -> bytes:
    """The bytes of an entry; raises ``KeyError`` for a name with a character that stands for no byte."""
    return bytes(_BYTES[character] for character in name)


def is_entry(token: str, entries: Collection[bytes]) -> bool:
    """Whether a special token would be confused with one of ``entries``: it equals the entry's text, or its name
    (``Ġthe`` is the name of " the")."""
    return token.encode() in entries or is_name(token, entries)


def is_name(token: str, entries: Collection[bytes]) -> bool:
    """Whether ``token`` is the name of one of ``entries``."""
    return _BYTES.keys() >= set(token) and entry_bytes(token) in entries


class Ordinary(NamedTuple):
    """An added token that is not special: wherever a text contains it, it becomes its id.

    ``normalized``: the library searches for it in the normalised text instead of the original one.
    """

    number: int
    normalized: bool


@dataclass(frozen=True)
class ByteLevelBPE:
    """A byte-level BPE in its parts.

    ``vocab``: entry → id, without added tokens. ``merges``: pairs of entries, the first merged first. ``special``:
    special token → id. ``pattern``: the regular expression that cuts text into pieces. ``whole_pieces``: a piece that
    is an entry becomes that entry, even if merging its bytes would not give that entry. ``before``: steps that cut text
    before ``pattern`` does; each cuts the pieces of the step before it. ``ordinary``: added tokens that are not
    special. ``form``: the normalisers that are applied to texts first, as JSON. ``unknown``: the special token that
    stands for a byte without an entry.
    """

    vocab: Mapping[bytes, int]
    merges: Sequence[tuple[bytes, bytes]]
    special: Mapping[str, int]
    pattern: str
    whole_pieces: bool = False
    before: tuple[str | Digits, ...] = ()
    ordinary: Mapping[str, Ordinary] = field(default_factory=dict)
    form: tuple[str, ...] = ()
    unknown: str | None = None

    @classmethod
    def read(cls, path: Path) -> "ByteLevelBPE":
        """The contents of a ``tokenizer.json``. Raises ``PedigreeError`` that says what in it is not byte-level BPE."""
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
            added = written.get("added_tokens") or []
            special = {token["content"]: token["id"] for token in added if token.get("special")}
            ordinary = {
                token["content"]: Ordinary(token["id"], bool(token.get("normalized")))
                for token in added
                if not token.get("special")
            }
            own = {name: number for name, number in model["vocab"].items() if name not in special | ordinary}
            vocab = {entry_bytes(name): number for name, number in own.items()}
            merges = [(entry_bytes(left), entry_bytes(right)) for left, right in map(_pair, model["merges"])]
            *before, pattern = cuts(path, written.get("pre_tokenizer"))
            form = normal_form(path, written.get("normalizer"))
        except KeyError as error:
            raise PedigreeError(f"{path}: not byte-level: {error} in its vocabulary stands for no byte") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise PedigreeError(f"{path}: not a tokenizer.json: {error}") from None
        numbers = [*vocab.values(), *special.values(), *(token.number for token in ordinary.values())]
        strange = [number for number in numbers if type(number) is not int or number < 0]
        if strange:
            raise PedigreeError(
                f"{path}: not a valid tokenizer.json: the token id {strange[0]!r} is not a whole number of 0 or more"
            )
        if len(set(numbers)) != len(numbers):
            raise PedigreeError(f"{path}: two entries of the vocabulary share an id")
        return cls(
            vocab,
            merges,
            special,
            pattern,
            bool(model.get("ignore_merges")),
            tuple(before),
            ordinary,
            form,
            _unknown(path, model, vocab, special),
        )

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of these parts. It reads special tokens that are written in a text as ordinary text."""
        vocab = {entry_name(entry): number for entry, number in self.vocab.items()}
        merges = [(entry_name(left), entry_name(right)) for left, right in self.merges]
        ordinary = {token: found.number for token, found in self.ordinary.items()}
        model = models.BPE(
            {**vocab, **self.special, **ordinary}, merges, ignore_merges=self.whole_pieces, unk_token=self.unknown
        )
        made = Tokenizer(model)
        if self.form:
            made.normalizer = as_normalizer([json.loads(step) for step in self.form])
        in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([*map(_step, (*self.before, self.pattern)), in_bytes])
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([_added(token, special=True) for token in _by_number(self.special)])
        normalized = {token: found.normalized for token, found in self.ordinary.items()}
        made.add_tokens([_added(token, normalized=normalized[token]) for token in _by_number(ordinary)])
        made.encode_special_tokens = True
        return made


def _step(cut: str | Digits) -> pre_tokenizers.PreTokenizer:
    if isinstance(cut, Digits):
        return pre_tokenizers.Digits(individual_digits=cut.single)
    return pre_tokenizers.Split(Regex(cut), behavior="isolated")


def _added(token: str, special: bool = False, normalized: bool = False) -> AddedToken:
    return AddedToken(token, special=special, normalized=normalized)


def _by_number(tokens: Mapping[str, int]) -> list[str]:
    return sorted(tokens, key=tokens.__getitem__)


def _pair(merge: str | list[str]) -> list[str]:
    """Both ways in which files write a merge: two names, or one string with a space between them."""
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if len(pair) != 2:
        raise ValueError(f"the merge {str(merge)[:80]!r} is not of two entries")
    return pair


def _refuse(path: Path, written: dict[str, Any], model: dict[str, Any]) -> None:
    """Raise for settings that change ids and for which ``ByteLevelBPE`` has no field."""
    if model.get("byte_fallback"):
        raise PedigreeError(
            f"{path}: only byte-level BPE (as of GPT-2, Llama 3 or Qwen) can be imported. This tokenizer works as "
            "SentencePiece does ('byte_fallback' is set): it writes spaces as '▁' and rare characters as entries like "
            "<0x0A>, so a text that contains '▁' would not decode to itself"
        )
    for holder, name in (
        (written, "truncation"),
        (written, "padding"),
        (model, "dropout"),
        (model, "continuing_subword_prefix"),
        (model, "end_of_word_suffix"),
    ):
        if holder.get(name):
            raise PedigreeError(
                f"{path}: has {name!r} set ({str(holder[name])[:80]}); plain byte-level BPE does not have it"
            )
    for token in written.get("added_tokens") or []:
        missing = [name for name in ("content", "id") if name not in token]
        if missing:
            raise PedigreeError(
                f"{path}: not a tokenizer.json: the added token {str(token)[:80]} has no {missing[0]!r}"
            )
        for name in ("lstrip", "rstrip", "single_word"):
            if token.get(name) and not token.get("special"):
                raise PedigreeError(
                    f"{path}: the added token {token['content']!r} has {name!r} set: it would change the text around "
                    "it; set it to false if texts were encoded without"
                )
    missing = [name for name in ("vocab", "merges") if name not in model]
    if missing:
        raise PedigreeError(f"{path}: not a tokenizer.json: its model has no {missing[0]!r}")


def _unknown(
    path: Path, model: Mapping[str, Any], vocab: Mapping[bytes, int], special: Mapping[str, int]
) -> str | None:
    """The token for bytes without an entry. None if every byte has an entry, even if the file names such a token."""
    token = model.get("unk_token")
    if token is None or all(bytes([byte]) in vocab for byte in range(256)):
        return None
    if token not in special:
        raise PedigreeError(f"{path}: has 'unk_token' set to {token!r}, which is none of its special tokens")
    if model.get("fuse_unk"):
        raise PedigreeError(f"{path}: has 'fuse_unk' set: several unknown bytes would become one token")
    return str(token)
