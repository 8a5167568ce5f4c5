import pytest

from llm_core.errors import PedigreeError
from llm_core.train.data import open_data
from tests.train.runs import trainer_spec, write_shards


def test_good_shards_open(tmp_path):
    data = open_data(trainer_spec(tmp_path), ranks=4)
    assert (data.train.batch_size, data.heldout.tokens) == (8, 2000)


@pytest.mark.parametrize(
    ("shards", "spec", "ranks", "message"),
    [
        ({}, {"vocab_size": 299}, 1, "the shards have 300 token ids, but the model only 299"),
        ({}, {}, 3, r"training\.batch_tokens: a batch of 8 sequences can't be shared by 3 ranks"),
        ({"tokens": 200}, {}, 1, "200 tokens, less than one batch"),
        ({"tokens": 20}, {}, 1, "20 tokens"),
        ({"heldout": 32}, {}, 1, r"held-out split has 32 tokens, less than one sequence"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, shards, spec, ranks, message):
    write_shards(tmp_path / "shards", **shards)
    with pytest.raises(PedigreeError, match=message):
        open_data(trainer_spec(tmp_path, **spec), ranks)


def test_a_shard_cut_short_is_refused(tmp_path):
    spec = trainer_spec(tmp_path)
    path = spec.shards / "train" / "00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(PedigreeError, match=r"train/00000\.bin"):
        open_data(spec, 1)
