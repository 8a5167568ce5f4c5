"""Byte-level BPE (Sennrich et al., 2016; on bytes: Radford et al., 2019), learned from text.

Why not ``tokenizers.trainers.BpeTrainer``? It learns the same entries and merges (tests compare them), in any order of
texts and with any number of threads. But on 64 MB of text it takes 7.7 times the processor time with 4,096 entries and
6.6 times with 32,768, and 1.6 to 1.8 times the memory (``docs/results/tokenizer_training.md``).
"""

from collections.abc import Iterable

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from llm_core.data.kernels.buffers import to_texts
from llm_core.errors import PedigreeError
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.alphabet import ALPHABET
from llm_core.tokens.batches import batches
from llm_core.tokens.byte_level import ByteLevelBPE, is_entry
from llm_core.tokens.kernels.merges import learn_merges
from llm_core.tokens.kernels.pieces import PieceCounts
from llm_core.tokens.patterns import PATTERNS
from llm_core.tokens.tokenizer import special_tokens


def train_tokenizer(texts: Iterable[str], spec: TokenizerSpec) -> Tokenizer:
    """A tokenizer of at most ``spec.vocab_size`` entries; the same for the same texts in any order.

    Memory holds 4 MiB of text, and about 60 bytes for every byte of the different pieces into which the pattern cuts
    the texts. Raises ``PedigreeError`` for a special token that is also an ordinary entry.
    """
    counted = PieceCounts(spec.pattern)
    for batch in batches(texts):
        counted.add(to_texts(pl.Series(batch, dtype=pl.String)))
    data, starts, weights = counted.pieces()
    seen = set(range(256)) if spec.byte_fallback else set(np.unique(data).tolist())
    entries = [bytes([byte]) for byte in sorted(seen, key=ALPHABET.__getitem__)]
    ids = np.zeros(256, dtype=np.int64)
    ids[[entry[0] for entry in entries]] = np.arange(len(entries))
    special = special_tokens(spec)
    most = max(0, spec.vocab_size - len(special) - len(entries))
    merges = []
    for left, right in learn_merges(data, starts, weights, ids, len(entries), most, spec.min_frequency).tolist():
        merges.append((entries[left], entries[right]))
        entries.append(entries[left] + entries[right])
    # All bytes: also one that the sample lacks must not become the special token.
    possible = {*entries, *(bytes([byte]) for byte in range(256))}
    taken = [token for token in special if is_entry(token, possible)]
    if taken:
        field = "special_tokens" if taken[0] in spec.special_tokens else "unk_token"
        raise PedigreeError(
            f"tokenizer.{field}: {taken[0]!r} is also an ordinary entry, or the name of one: it is frequent in the "
            "text, or how bytes are written; choose another, such as <|end|>"
        )
    vocab = {entry: number for number, entry in enumerate(entries, start=len(special))}
    specials = {token: number for number, token in enumerate(special)}
    unknown = None if spec.byte_fallback else spec.unk_token
    return ByteLevelBPE(vocab, merges, specials, PATTERNS[spec.pattern], unknown=unknown).tokenizer()
