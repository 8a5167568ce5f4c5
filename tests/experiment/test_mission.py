"""The model that one card of 32 GB is to train, to the last parameter, token and character."""

import random

import polars as pl
import pytest

from llm_core.data.normalise import normalised
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from llm_core.model.accounting import parameter_count
from llm_core.model.build import build_model
from llm_core.model.feed_forwards.plain.spec import GELU
from llm_core.model.mixers.attention.spec import Attention
from llm_core.model.norms.spec import RMSNorm
from llm_core.model.positions.alibi.spec import Alibi
from llm_core.model.positions.nope.spec import Nope
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.tokenizer import learned_entries, special_tokens, vocabulary_size
from llm_core.train.device_memory import accumulation_of, estimate_memory
from llm_core.train.hardware import Hardware
from pipelines.experiments import experiment_file

PARAMETERS = 1_010_300_928
CARD = Hardware("one card", devices=1, memory=32_000_000_000, peak_flops=None)


@pytest.fixture(scope="module")
def qt_1b() -> Experiment:
    return load_experiment(experiment_file("qt_1b"))


def test_the_model(qt_1b: Experiment) -> None:
    model, vocab_size = qt_1b.model, qt_1b.tokenizer.vocab_size
    assert (model.d_model, model.n_layers) == (2048, 22)
    assert (model.mixer, model.norm) == (Attention(n_heads=32, n_kv_heads=8, position="alibi"), RMSNorm())
    assert (model.feed_forward, model.bias, model.tie_embeddings) == (GELU(d_ff=8196), False, False)
    positions = [layer.mixer.position_of() for layer in model.layers]
    assert [index for index, position in enumerate(positions) if position == Nope()] == [3, 7, 11, 15, 19]
    assert set(positions) == {Alibi(), Nope()}
    assert vocab_size == 10_001
    # By hand: queries and output, keys and values, two products of the feed-forward, two norms; and around the blocks.
    block = 2 * 2048 * 2048 + 2 * 2048 * 512 + 2 * 2048 * 8196 + 2 * 2048
    assert 22 * block + 2 * 10_001 * 2048 + 2048 == PARAMETERS
    assert parameter_count(model, vocab_size).total == PARAMETERS
    built = build_model(model, vocab_size, device="meta")
    assert sum(parameter.numel() for parameter in built.parameters()) == PARAMETERS


def test_the_training(qt_1b: Experiment) -> None:
    training, schedule = qt_1b.training, qt_1b.training.schedule
    assert (training.sequence_length, training.batch_size, training.tokens) == (512, 2_000, 21_504_000_000)
    assert training.steps * training.batch_tokens == training.tokens
    assert (training.optimizer.kind, training.optimizer.betas) == ("adamw", (0.9, 0.95))
    assert training.optimizer.weight_decay == 0.1
    assert (schedule.kind, schedule.warmup_steps, schedule.cooldown_steps) == ("wsd", 1_000, 2_000)
    assert qt_1b.compute.micro_batch == 16
    assert accumulation_of(qt_1b, qt_1b.compute, ranks=1) == 125


def test_it_fits_one_card_and_would_not_without_activation_checkpointing(qt_1b: Experiment) -> None:
    assert qt_1b.compute.activation_checkpointing == "selective"
    assert estimate_memory(qt_1b, qt_1b.compute, 1, CARD).total < CARD.usable_memory
    plain = qt_1b.compute.model_copy(update={"activation_checkpointing": "none"})
    assert estimate_memory(qt_1b, plain, 1, CARD).total > CARD.memory


def test_the_text(qt_1b: Experiment) -> None:
    text = "“It’s” – ‘A’ 100 € Ü?\n☃ <B>\t42"
    assert normalised(pl.Series([text]), qt_1b.cleaning).to_list() == ["\"it's\" – 'a' 100 ü?\n<b>\t42"]


def test_the_vocabulary(qt_1b: Experiment) -> None:
    """All of the 10,001 entries, the two special tokens among them, is what training makes of enough text."""
    spec = qt_1b.tokenizer
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(4_000)]
    tokenizer = train_tokenizer([" ".join(words)] * 2, spec)
    assert special_tokens(spec) == ["<|endoftext|>", "[UNK]"]
    assert [tokenizer.token_to_id(token) for token in special_tokens(spec)] == [0, 1]
    letters_and_blank = 27
    assert vocabulary_size(tokenizer) == 10_001
    assert len(learned_entries(tokenizer)) == 10_001 - 2 - letters_and_blank
    assert tokenizer.get_vocab_size() <= 1 << 16, "uint16 shards"


def test_what_it_reads_is_one_billions(qt_1b: Experiment) -> None:
    assert qt_1b.raw == load_experiment(experiment_file("one_billion")).raw
