"""Byte-level BPE (Sennrich et al., 2016; on bytes: Radford et al., 2019), and how a trained one is opened."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.patterns import PATTERNS

UNKNOWN = "<|unk|>"

# Characters of a piece, while training alone: its time grows with the square of a piece's length. Longer pieces are
# lines of dashes, encoded data and the like; they are cut, so that the pairs across a cut go uncounted.
_LONGEST_TRAINED = 256


def special_tokens(spec: TokenizerSpec) -> list[str]:
    """The special tokens in the order of their ids, from 0; the first one ends every document."""
    unknown = [] if spec.byte_fallback or UNKNOWN in spec.special_tokens else [UNKNOWN]
    return [*spec.special_tokens, *unknown]


def train_tokenizer(texts: Iterable[str], spec: TokenizerSpec) -> Tokenizer:
    """A tokenizer of ``spec.vocab_size`` entries or fewer; the same for the same texts on any number of threads."""
    unknown = None if spec.byte_fallback else UNKNOWN
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    split = pre_tokenizers.Split(Regex(PATTERNS[spec.pattern]), behavior="isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bounded = pre_tokenizers.FixedLength(length=_LONGEST_TRAINED)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bounded, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        min_frequency=spec.min_frequency,
        special_tokens=special_tokens(spec),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()) if spec.byte_fallback else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in ``tokenizer.json``; special tokens that are written out in a text stay text."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: not a tokenizer: {error}; train it again") from None
    tokenizer.encode_special_tokens = True  # not kept in the file
    return tokenizer


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
