"""Conversations of a dataset on the Hugging Face Hub. What the Hub may answer is in tests/data/sources."""

import io
import json
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from llm_core.chat import conversations
from llm_core.errors import PedigreeError, UnknownYetError
from llm_core.experiment.base import from_plain
from llm_core.experiment.load import load_experiment
from llm_core.experiment.preference import PreferenceSource
from llm_core.experiment.tuning import ConversationSource
from tests.chat.stages import lines, read, talks
from tests.data.sources.hub_server import COMMIT, REPO, hub_instead
from tests.data.stages import digests
from tests.experiment.test_load import MINIMAL

RECORDS = talks(5)


def parquet(records):
    out = io.BytesIO()
    pl.DataFrame(records).write_parquet(out)
    return out.getvalue()


FILES = {
    "README.md": b"about",
    "data/all/train-0.parquet": parquet(RECORDS[:3]),
    "data/all/train-1.jsonl": "".join(f"{json.dumps(record)}\n" for record in RECORDS[3:]).encode(),
    "data/all/train.csv": b"messages\n",
}


@pytest.fixture
def server(monkeypatch, tmp_path):
    with hub_instead(monkeypatch, tmp_path, FILES) as standing_in:
        yield standing_in


@pytest.fixture
def copy(tmp_path):
    for name, content in FILES.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    return tmp_path / "copy"


def source(**changes):
    where = {"repo": REPO, "revision": COMMIT, "files": ["data/all/train-*"]}
    return from_plain(ConversationSource, {"name": "talks", "messages": "messages", **where, **changes})


def test_a_plan_asks_nobody_and_a_run_fetches_each_file_once(server, copy, tmp_path, monkeypatch):
    with pytest.raises(UnknownYetError, match="comes from the Hub when this runs"):
        conversations.source_digests([source()], ())
    assert not server.asked
    conversations.look_up([source()], suites=())
    known = conversations.source_digests([source()], ())
    assert list(known) == [f"talks/{REPO}@{COMMIT}"]
    stats = read(tmp_path / "online", source())
    assert stats["conversations_by_source"] == {"talks": 5}
    asked = server.asked.total()
    made = digests(tmp_path / "online" / "out")
    assert {row for name in made for row in pl.read_parquet(tmp_path / "online" / "out" / name)["origin"]} == {
        "data/all/train-0.parquet",
        "data/all/train-1.jsonl",
    }

    # From a copy, and without a network from the files that are here, it is the same.
    offline = source(local_folder=str(copy))
    assert conversations.source_digests([offline], ()) == known
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, one in (("copy", offline), ("again", source())):
        read(tmp_path / name, one)
        assert digests(tmp_path / name / "out") == made
    assert server.asked.total() == asked


def test_what_no_run_could_read_is_told_before_any_work(server, copy):
    for told, changes in {
        "'main' is no commit, and may move. It is now at": {"revision": "main"},
        "no file matches 'test-": {"files": ["test-*"]},
        r"train\.csv matches, but can't be read. Files of this source can be .jsonl, .*, .parquet;": {"files": ["d*"]},
    }.items():
        with pytest.raises(PedigreeError, match=f"source 'talks': .*{told}"):
            conversations.look_up([source(**changes)])
    with pytest.raises(PedigreeError, match="'main' is no commit; write the 40 digits"):
        conversations.source_digests([source(revision="main", local_folder=str(copy))], ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"paths": ["a.jsonl"]}, "give either paths, or repo with revision and files"),
        ({"repo": None}, "give either paths, or repo with revision and files"),
        ({"revision": None}, r"repo needs revision \(a commit\) and files"),
        ({"files": []}, r"repo needs revision \(a commit\) and files"),
        ({"repo": None, "paths": ["a.jsonl"], "local_folder": "copy"}, "revision, files, local_folder: only with repo"),
        ({"repo": "a/b/c"}, "pattern"),
    ],
)
def test_a_source_is_in_one_place(changes, told):
    with pytest.raises(ValidationError, match=told):
        source(**changes)


def test_the_parts_of_a_file_do_not_depend_on_what_else_is_read(copy, tmp_path):
    keys = {}
    for number, files in enumerate((["*0.parquet"], ["*0.parquet", "*.jsonl"])):
        one = source(files=files, local_folder=str(copy), license="MIT" if number else None)
        keys[number] = {task.name: task.key("code") for task in conversations._tasks(one)}
    assert keys[0].items() < keys[1].items()
    path = lines(tmp_path / "here.jsonl", RECORDS)
    (here,) = conversations._tasks(source(paths=[str(path)], repo=None, revision=None, files=[]))
    assert here.function is conversations.conversations_part


def test_preferences_and_paths_relative_to_the_experiment(copy: Path) -> None:
    where = {"repo": REPO, "revision": COMMIT, "files": ["*"], "local_folder": "copy"}
    pairs = {"name": "pairs", "chosen_messages": "a", "rejected_messages": "b", **where}
    training = {"sequence_length": 64, "batch_tokens": 128, "tokens": 1000, "optimizer": {"lr": 1e-4}}
    path = copy.parent / "x.yaml"
    path.write_text(f"{MINIMAL}preference: {json.dumps({'sources': [pairs], 'training': training})}")
    (found,) = load_experiment(path).preference.sources
    assert isinstance(found, PreferenceSource)
    assert found.local_folder == str(copy)
    assert conversations._on_hub(found).local_folder == str(copy)
