"""What ``pedigree why -d`` says of a document and the steps that read it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.training import TrainingSpec
from llm_core.store.files import write_atomically
from llm_core.store.manifest import InputRecord, Manifest
from llm_core.store.store import Store
from llm_core.store.work import begin
from llm_core.tokens.trace import TrainedRange
from pipelines.follow import document_history, history_record, trained_station
from tests.tokens.shard_folder import write_shards

RUN = "pretrained_model"
TRAINING = TrainingSpec(sequence_length=8, batch_tokens=32, tokens=32 * 4)
"""Four steps over the 64 tokens of the shards: two passes."""


def read(step: int, tokens: int) -> TrainedRange:
    return TrainedRange(step, 0, 0, 0, 0, tokens, tokens, "d", "files", "1.jsonl", 7)


def test_steps_that_were_skipped_taught_nothing() -> None:
    told = trained_station([read(3, 10), read(4, 5), read(4, 6)], {4, 9}, RUN)
    assert (told.verdict, told.facts) == ("trained on", {"tokens as targets": 10, "steps": "3", "skipped steps": "4"})
    told = trained_station([read(4, 5)], {4}, RUN)
    assert (told.verdict, told.facts) == ("not trained on", {"tokens as targets": 0, "skipped steps": "4"})
    assert trained_station([], set(), RUN).verdict == "not reached"


def made(store: Store, stage: str, experiment: str, **inputs: str) -> str:
    """A finished artifact; its identity follows from its name and inputs."""
    kind = "token_shards" if stage == "token_shards" else "training_run"
    identity = f"{len(list(store.artifacts(kind))):x}{kind.encode().hex()}"[:32].ljust(32, "0")
    about = {"stage": stage, "experiment": experiment}
    work = store.work(kind, identity, about)
    if kind == "token_shards":
        shards(work / "out", inputs.pop("documents"))
    config: dict[str, Any] = {"training": canonical(TRAINING), "seed": 7}
    if "start" in inputs:
        config["from_step"] = 2

    def manifest(files: Any) -> Manifest:
        fields = dict.fromkeys(("content", "code_digest", "started", "host", "device"), "")
        records = [InputRecord(role=role, stage="", identity=name, content="") for role, name in inputs.items()]
        empty: dict[str, Any] = {
            "code": {},
            "source_digests": {},
            "checks": [],
            "stats": {},
            "versions": {},
            "seconds": 0,
        }
        return Manifest(
            **{**about, **fields, **empty}, kind=kind, identity=identity, config=config, inputs=records, files=files,
            git_commit=None, git_dirty=None,
        )  # fmt: skip

    with store.lease(kind, identity) as held:
        store.commit(work, held, (), manifest)
    return identity


def shards(folder: Path, names: str) -> None:
    """Documents of 8 tokens each, by the names of their origins."""
    write_shards(folder, [8] * len(names))
    starts = list(range(0, 8 * len(names), 8))
    columns = {"split": "train", "shard": 0, "source": "web", "row": 0}
    frame = pl.DataFrame({"token_start": starts, "origin": list(names)}).with_columns(
        token_end=pl.col("token_start") + 8,
        stream_start=pl.col("token_start"),
        doc_id=pl.Series([document_id("web", name, 0) for name in names]),
        **{name: pl.lit(value) for name, value in columns.items()},
    )
    frame.write_parquet(folder / "documents.parquet")


@pytest.fixture
def session(tmp_path: Path) -> Any:
    """Two states of the data, and runs on both: of the document ``x`` the second has nothing."""
    store = Store(tmp_path)
    first = made(store, "token_shards", "one", documents="abcdefgx")
    second = made(store, "token_shards", "one", documents="abcdefgh")
    full = made(store, RUN, "one", shards=first)
    made(store, "cooldown_runs/short", "one", shards=first, start=full)
    made(store, "idea_runs/other", "two", shards=first)
    made(store, RUN, "one", shards=second)
    live = store.root / "work" / "training_run" / ("e" * 32)
    config = {"training": canonical(TRAINING), "seed": 7}
    about = {"stage": RUN, "experiment": "three", "config": config, "inputs": {"shards": first}}
    begin(live, {"kind": "training_run", "identity": live.name, **about})
    write_atomically(live / "metrics.jsonl", b'{"step": 1, "skipped": false}\n{"step": 2, "skipped": false}\n')
    return SimpleNamespace(store=store, experiment=SimpleNamespace(name="one"))


@pytest.mark.parametrize("document", ["web/x:0", document_id("web", "x", 0)[:10]])
def test_a_document_that_is_gone_shows_in_every_run_that_saw_it(session: Any, document: str) -> None:
    told = document_history(session, document)
    assert (told.source, told.origin, told.row) == ("web", "x", 0)
    assert told.stations[0].verdict == "not read now"
    found = {(item.facts["experiment"], item.stage): item for item in told.stations[1:]}
    assert list(found) == [("one", "cooldown_runs/short"), ("one", RUN), ("three", RUN), ("two", "idea_runs/other")]
    steps = {place: [int(step) for step in item.facts.get("steps", "0").split(", ")] for place, item in found.items()}
    everything = steps["one", RUN]
    assert len(everything) >= 2  # once a pass, and perhaps in two sequences
    assert steps["two", "idea_runs/other"] == everything
    assert steps["one", "cooldown_runs/short"] == [step for step in everything if step > 2]
    assert steps["three", RUN] == [step for step in everything if step <= 2]
    assert found["three", RUN].facts["unfinished, at step"] == "2"
    assert json.dumps(history_record(told))


def test_runs_whose_shards_are_gone_are_told_of_as_not_known(session: Any) -> None:
    (gone,) = {run for run in session.store.artifacts("token_shards") if run.manifest.identity.startswith("0")}
    gone.path.rename(gone.path.with_name("elsewhere"))
    told = document_history(session, "web/a:0")
    verdicts = sorted(item.verdict for item in told.stations)
    assert verdicts == [*["not known"] * 4, "not read now", "trained on"]
    assert told.stations[1].facts["because"] == "its shards are no longer in the store"


def test_a_document_that_nothing_ever_read_is_an_error(session: Any) -> None:
    with pytest.raises(PedigreeError, match="has read no documents yet"):
        document_history(session, "web/nothing:0")
