"""A vocabulary trained by HF tokenizers: what ours is compared with, in the tests and in the benchmark."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.patterns import PATTERNS
from llm_core.tokens.tokenizer import special_tokens


def trained_by_hf(texts: Iterable[str], spec: TokenizerSpec) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERNS[spec.pattern]), behavior="isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        min_frequency=spec.min_frequency,
        special_tokens=special_tokens(spec),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()) if spec.byte_fallback else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer
