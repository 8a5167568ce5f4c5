import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.training import MixtureSpec, SequencePhase
from llm_core.train.data import data_statistics, mean_sequence_length, open_data
from tests.train.runs import trainer_spec, training_spec, write_shards


def test_good_shards_open(tmp_path):
    data = open_data(trainer_spec(tmp_path), ranks=4)
    assert (data.train.sizes.at(0), data.heldout.tokens) == (8, 2000)


@pytest.mark.parametrize(
    ("shards", "spec", "ranks", "message"),
    [
        ({}, {"vocab_size": 299}, 1, "the shards have 300 token ids, but the model only 299"),
        ({}, {}, 3, r"training\.batch_tokens: a batch of 8 sequences can't be shared by 3 ranks"),
        ({"tokens": 200}, {}, 1, "200 tokens, less than one batch"),
        ({"tokens": 20}, {}, 1, "20 tokens"),
        ({"heldout": 31}, {}, 1, r"held-out split has 31 tokens, less than one sequence"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, shards, spec, ranks, message):
    write_shards(tmp_path / "shards", **shards)
    with pytest.raises(PedigreeError, match=message):
        open_data(trainer_spec(tmp_path, **spec), ranks)


def test_a_shard_cut_short_is_refused(tmp_path):
    spec = trainer_spec(tmp_path)
    path = spec.shards / "train" / "a-000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(PedigreeError, match=r"train/a-000\.bin"):
        open_data(spec, 1)


def test_a_mixture_that_repeats_a_source_too_often_is_refused(tmp_path):
    mixture = MixtureSpec(weights={"a": 9, "b": 1}, max_epochs=1.5)
    open_data(trainer_spec(tmp_path, steps=60, training={"mixture": mixture}), 1)
    with pytest.raises(PedigreeError, match=r"tokens from a .* epochs, and max_epochs is 1\.5"):
        open_data(trainer_spec(tmp_path, steps=70, training={"mixture": mixture}), 1)
    with pytest.raises(PedigreeError, match=r"no source 'c'; known: a, b"):
        open_data(trainer_spec(tmp_path, training={"mixture": MixtureSpec(weights={"c": 1})}), 1)


def test_statistics_of_what_a_run_reads(tmp_path):
    mixture = MixtureSpec(weights={"a": 1, "b": 3})
    spec = trainer_spec(tmp_path, steps=128, training={"mixture": mixture, "packing": "best_fit"})
    found = data_statistics(open_data(spec, 1).train, spec.training)
    assert found["packing"] == "best_fit"
    assert list(found["sources"]) == ["a", "b"]
    (a, b) = found["sources"].values()
    assert (a["share"], a["sequences"], a["tokens_there"], a["crops"]) == (0.25, 256, 10_000, 200)
    assert a["epochs"] == 256 / a["rows"]
    assert b["padding"] == b["rows"] * 32 - 10_000


def test_the_mean_length_of_a_schedule():
    assert mean_sequence_length(training_spec(10)) == 32
    phases = [SequencePhase(from_step=step, sequence_length=length) for step, length in ((0, 8), (4, 16), (8, 32))]
    spec = training_spec(10, sequence_schedule=tuple(phases))
    assert mean_sequence_length(spec) == (4 * 8 + 4 * 16 + 2 * 32) / 10
    assert mean_sequence_length(training_spec(2, sequence_schedule=tuple(phases))) == 8
