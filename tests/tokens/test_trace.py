from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llm_core.errors import PedigreeError
from llm_core.tokens.loader import Loader, ShardReader
from llm_core.tokens.trace import documents_of_step
from tests.tokens.shard_folder import write_shards

LENGTHS = [5, 40, 3, 17, 60, 2, 2, 31]
RUN = {"sequence_length": 8, "batch_size": 4, "seed": 7}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(tmp_path, LENGTHS)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]])
    count = len(LENGTHS)
    pl.DataFrame(
        {
            "split": ["train"] * count,
            "shard": [0] * count,
            "token_start": starts,
            "token_end": starts + LENGTHS,
            "stream_start": starts,
            "doc_id": [f"doc{number}" for number in range(count)],
            "source": ["made"] * count,
            "origin": ["file"] * count,
            "row": range(count),
        }
    ).write_parquet(tmp_path / "documents.parquet")
    return tmp_path


@pytest.mark.parametrize("step", [1, 2, 9])
def test_the_trace_tells_what_the_loader_serves(shards: Path, step: int) -> None:
    batch = Loader(ShardReader(shards, "train"), **RUN).batch(step - 1)
    found = documents_of_step(shards, step, **RUN)
    for sequence, ids in enumerate(batch.document_ids_BT):
        rows = [item for item in found if item.sequence == sequence]
        assert [item.doc_id for item in rows for _ in range(item.tokens)] == [f"doc{number}" for number in ids]
        tokens = np.concatenate([np.arange(item.token_start, item.token_start + item.tokens) for item in rows])
        assert (tokens + 1).tolist() == batch.inputs_BT[sequence].tolist()  # the made shards count up from 1


def test_there_is_no_step_before_the_first(shards: Path) -> None:
    with pytest.raises(PedigreeError, match="first step of a run is 1"):
        documents_of_step(shards, 0, **RUN)
