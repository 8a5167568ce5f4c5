"""What holds for every packing that an experiment can name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.experiment.load import load_experiment
from llm_core.registries import PACKINGS
from llm_core.store.home import PROJECT
from llm_core.tokens import packing
from llm_core.tokens.reader import ShardReader
from tests.tokens.shard_folder import write_shards


@pytest.mark.parametrize("name", PACKINGS)
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=40), length=st.integers(1, 20), block=st.integers(1, 50)
)
def test_every_token_is_in_one_row_or_counted_as_left_out(tmp_path_factory, name, lengths, length, block):
    folder = tmp_path_factory.mktemp("shards")
    stream = write_shards(folder, {"before": [3], "made": lengths, "after": [2]})
    first, stop = 3, len(stream) - 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", block)
        packed = PACKINGS.load(name)(ShardReader(folder, "train", "made"), length)
    starts, sizes, counts = packed.pieces(np.arange(packed.rows))
    rows = np.repeat(np.arange(packed.rows), counts)
    owners = {
        token: row
        for start, size, row in zip(starts.tolist(), sizes.tolist(), rows.tolist(), strict=True)
        for token in range(start, start + size)
    }
    assert len(owners) == sizes.sum()  # none twice
    assert owners.keys() <= set(range(first, stop))
    assert stop - first - len(owners) == packed.stats().get("dropped_tokens", 0)
    assert packed.stats()["rows"] == packed.rows
    for token in range(first, stop):
        assert packed.rows_with(token, token + 1).tolist() == ([owners[token]] if token in owners else [])
    assert packed.rows_with(first, stop).tolist() == list(range(packed.rows))
    if packed.windows:
        assert (counts == 1).all()
        assert (sizes == length).all()
    else:
        document_of = np.repeat(np.arange(len(lengths)), lengths)
        assert (document_of[starts - first] == document_of[starts + sizes - 1 - first]).all()
        assert (np.bincount(rows, weights=sizes) <= length).all()


@pytest.mark.parametrize("name", PACKINGS)
def test_an_experiment_can_name_it(tmp_path, name):
    path = tmp_path / "named.yaml"
    path.write_text(f"extends: {PROJECT}/pipelines/experiments/tiny\ntraining: {{packing: {name}}}\n")
    assert load_experiment(path).training.packing == name


@pytest.mark.parametrize("name", PACKINGS)
def test_the_docs_have_it(name):
    assert f"\n| `{name}`" in (PROJECT / "docs" / "loader.md").read_text()
