"""What holds for every packing that an experiment can name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.contracts.example import Example
from llm_core.contracts.packings import check_packed
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
    write_shards(folder, {"before": [3], "made": lengths, "after": [2]})
    first = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", block)
        packed = PACKINGS.load(name)(ShardReader(folder, "train", "made"), length)
    check_packed(Example("PACKINGS", name), packed, tuple(lengths), length, first)
    starts, sizes, counts = packed.pieces(np.arange(packed.rows))
    if packed.windows:
        assert (counts == 1).all()
        assert (sizes == length).all()
    else:
        document_of = np.repeat(np.arange(len(lengths)), lengths)
        assert (document_of[starts - first] == document_of[starts + sizes - 1 - first]).all()
        rows = np.repeat(np.arange(packed.rows), counts)
        assert (np.bincount(rows, weights=sizes) <= length).all()


@pytest.mark.parametrize("name", PACKINGS)
def test_an_experiment_can_name_it(tmp_path, name):
    path = tmp_path / "named.yaml"
    path.write_text(f"extends: {PROJECT}/pipelines/experiments/tiny\ntraining: {{packing: {name}}}\n")
    assert load_experiment(path).training.packing == name


@pytest.mark.parametrize("name", PACKINGS)
def test_the_docs_have_it(name):
    assert f"\n| `{name}`" in (PROJECT / "docs" / "loader.md").read_text()
