from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.training import BatchPhase, MixtureSpec, SequencePhase, TrainingSpec
from llm_core.registries import PACKINGS
from llm_core.tokens.loader import IGNORED, open_loader
from llm_core.tokens.trace import documents_of_step, steps_of_document, training_section
from tests.tokens.shard_folder import write_shards

SOURCES = {"a": [5, 40, 3], "b": [17, 60, 2, 2, 31]}
SEED = 7
RUNS = {
    **{name: {"packing": name} for name in PACKINGS},
    "mixture": {"mixture": MixtureSpec(weights={"b": 1.0, "a": 2.0})},
    "schedule": {
        "sequence_schedule": (
            SequencePhase(from_step=0, sequence_length=4),
            SequencePhase(from_step=2, sequence_length=8),
        )
    },
    "growing batches": {
        "batch_schedule": (BatchPhase(from_step=0, batch_tokens=8), BatchPhase(from_step=3, batch_tokens=32)),
        "mixture": MixtureSpec(weights={"b": 1.0, "a": 2.0}),
    },
    "one source": {"mixture": MixtureSpec(weights={"b": 1.0})},
}


def training(**changes) -> TrainingSpec:
    return TrainingSpec(**{"sequence_length": 8, "batch_tokens": 32, "tokens": 32 * 9, **changes})


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(tmp_path, SOURCES)
    lengths = [length for found in SOURCES.values() for length in found]
    sources = [name for name, found in SOURCES.items() for _ in found]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    first = [starts[sources.index(name)] for name in sources]
    pl.DataFrame(
        {
            "split": ["train"] * len(lengths),
            "shard": [int(name == "b") for name in sources],
            "token_start": starts - first,
            "token_end": starts - first + lengths,
            "stream_start": starts,
            "doc_id": [f"doc{number}" for number in range(len(lengths))],
            "source": sources,
            "origin": ["file"] * len(lengths),
            "row": range(len(lengths)),
        }
    ).write_parquet(tmp_path / "documents.parquet")
    return tmp_path


@pytest.mark.parametrize("run", RUNS)
def test_the_trace_tells_what_the_loader_serves(shards: Path, run: str) -> None:
    spec = training(**RUNS[run])
    loader = open_loader(shards, spec, SEED)
    documents = pl.read_parquet(shards / "documents.parquet").to_dicts()
    stream = np.concatenate([np.arange(1, sum(SOURCES["a"] + SOURCES["b"]) + 1)])
    stream[[row["stream_start"] + row["token_end"] - row["token_start"] - 1 for row in documents]] = 0
    seen = {row["doc_id"]: [] for row in documents}
    for step in range(1, spec.steps + 1):
        targets = loader.batch(step - 1).targets_BT
        traced = np.full(targets.shape, IGNORED)
        for item in documents_of_step(shards, step, spec, SEED):
            (document,) = (row for row in documents if row["doc_id"] == item.doc_id)
            assert (item.step, item.source, item.row) == (step, document["source"], document["row"])
            assert document["token_start"] <= item.token_start < item.token_start + item.tokens <= document["token_end"]
            start = document["stream_start"] + item.token_start - document["token_start"]
            traced[item.sequence, item.column : item.column + item.tokens] = stream[start : start + item.tokens]
            seen[item.doc_id].append(item)
        assert traced.tolist() == targets.tolist()
    for doc_id, items in seen.items():
        assert steps_of_document(shards, doc_id, spec, SEED) == items
    assert (run == "one source") == (not seen["doc0"])


@pytest.mark.parametrize("step", [0, 10])
def test_there_is_no_step_outside_the_run(shards: Path, step: int) -> None:
    with pytest.raises(PedigreeError, match="the run has the steps 1 to 9"):
        documents_of_step(shards, step, training(), SEED)


def test_a_document_that_was_not_trained_on_is_unknown(shards: Path) -> None:
    with pytest.raises(PedigreeError, match="the training split has no document doc99"):
        steps_of_document(shards, "doc99", training(), SEED)


@pytest.mark.parametrize("run", RUNS)
def test_a_section_comes_back_from_its_canonical_form(run: str) -> None:
    assert training_section(canonical(training(**RUNS[run]))) == training(**RUNS[run])
