import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.patterns import PATTERNS
from tests.tokens.hf_training import trained_by_hf
from tests.tokens.hostile import hostile_sample


def model(tokenizer):
    written = json.loads(tokenizer.to_str())["model"]
    return written["vocab"], written["merges"]


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.text("aab bé", max_size=30), min_size=1, max_size=8),
    vocab_size=st.integers(260, 330),
    min_frequency=st.integers(1, 3),
    byte_fallback=st.booleans(),
)
def test_it_learns_what_hf_tokenizers_learn(texts, vocab_size, min_frequency, byte_fallback):
    spec = TokenizerSpec(vocab_size=vocab_size, min_frequency=min_frequency, byte_fallback=byte_fallback)
    assert model(train_tokenizer(texts, spec)) == model(trained_by_hf(texts, spec))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_on_hostile_text_too(pattern):
    texts = hostile_sample(1500, seed=6)
    spec = TokenizerSpec(vocab_size=4000, pattern=pattern, special_tokens=("<|end|>", "<|user|>"))
    assert model(train_tokenizer(texts, spec)) == model(trained_by_hf(texts, spec))


def test_the_order_of_texts_is_without_effect():
    texts = hostile_sample(800, seed=7)
    spec = TokenizerSpec(vocab_size=1500)
    assert model(train_tokenizer(texts, spec)) == model(train_tokenizer(texts[::-1], spec))
