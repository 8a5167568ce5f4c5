"""A run that was trained from a bundle is adopted: with the graph's result, or not at all."""

import json
import shutil
import tempfile
import zlib
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from llm_core.errors import PedigreeError
from llm_core.graph.execute import materialize
from llm_core.graph.gates import records
from llm_core.graph.job import Runtime
from llm_core.store.home import PROJECT
from llm_core.train.adopting import adopt
from llm_core.train.run_record import read_record
from llm_core.train.spec import read_spec
from tests.pipelines.in_process import InProcess
from tests.train.bundles import Home, contents, start, write_fitting_record
from tests.train.runs import main_here
from tests.train.runs import run as train_here
from tests.train.test_loop import StopAfter


@pytest.fixture(autouse=True, scope="module")
def _machine_of_its_own(tmp_path_factory):
    """Do not wait for other trainings on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """A store with shards and a tokenizer, and without runs."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.make("token_shards", "tokenizer")
    return home


@pytest.fixture(scope="module")
def came_back(home, tmp_path_factory) -> Path:
    """A run that was stopped once and resumed."""
    bundle = tmp_path_factory.mktemp("away") / "bundle"
    home.bundle(bundle)
    spec = read_spec(bundle / "spec.json")
    train_here(spec, StopAfter(4))
    with pytest.raises(PedigreeError, match=r"not finished: 4 steps are done\. Start run\.sh again"):
        adopt(home.planner(), bundle / "run", print)
    done = start(bundle)
    assert done.returncode == 0, done.stderr
    assert "step 4 of 10" in done.stdout
    return bundle / "run"


@pytest.fixture
def copied(home, tmp_path) -> Home:
    shutil.copytree(home.folder, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def edited(came_back, tmp_path) -> Path:
    return Path(shutil.copytree(came_back, tmp_path / "run"))


@pytest.fixture(scope="module")
def by_graph(home, tmp_path_factory) -> Home:
    """The same experiment, with the full run and its branch trained through the graph, in this process."""
    folder = tmp_path_factory.mktemp("graph") / "home"
    shutil.copytree(home.folder, folder)
    made = Home(folder)
    made.make("pretrained_model", "cooldown_runs/short", target=InProcess())
    return made


def refused(home: Home, run: Path) -> str:
    before = contents(run)
    with pytest.raises(PedigreeError) as caught:
        adopt(home.planner(), run, print)
    assert contents(run) == before
    assert home.planner().plan({"pretrained_model"})[-1].verdict == "run"
    return str(caught.value)


def test_it_becomes_the_artifact_that_the_graph_makes(copied, came_back, by_graph):
    before, lines = contents(came_back), []
    outcome = adopt(copied.planner(), came_back, lines.append)
    assert (outcome.cache, contents(came_back)) == ("made", before)
    assert any("the weights are those of the checkpoint of step 10" in line for line in lines)
    assert any(line.startswith("validation loss: ") for line in lines)
    made, here = by_graph.make("pretrained_model").artifact, outcome.artifact
    ours, theirs = here.manifest, made.manifest
    assert (ours.identity, ours.content) == (theirs.identity, theirs.content)
    assert {file.path for file in ours.files} == {file.path for file in theirs.files}
    assert (here.path / "model.safetensors").read_bytes() == (made.path / "model.safetensors").read_bytes()
    assert ours.stats["adopted"]["folder"] == str(came_back)
    assert "adopted" not in theirs.stats
    assert ours.seconds == pytest.approx(ours.stats["seconds_training"], abs=1e-3)
    assert ours.versions["torch"]
    assert copied.planner().plan({"pretrained_model"})[-1].verdict == "hit"
    again = adopt(copied.planner(), came_back, lines.append)
    assert again.cache == "hit"
    assert "is already in the store, with equal weights" in lines[-1]


def test_a_run_comes_home_with_the_gate_of_its_launch_even_if_that_has_closed(copied, edited):
    value = materialize(copied.gated(), "gate", Runtime()).artifact.stats["value"]
    then = records(copied.gated().gates("pretrained_model"), [], "2026-01-31T14:05:09+00:00")
    bundle = read_record(edited).spec.bundle.model_copy(update={"gates": (then[0].model_dump(mode="json"),)})
    write_fitting_record(edited, bundle=bundle.model_dump(mode="json"))
    now = copied.gated(forbidden=value % 11)
    assert now.plan({"pretrained_model"})[-1].verdict == "blocked"
    assert adopt(now, edited, print).artifact.manifest.gates == then


def test_a_branch_and_a_longer_context_come_home_too(by_graph, tmp_path):
    made = by_graph.make("cooldown_runs/short").artifact.manifest
    for stage in ("cooldown_runs/short", "long_context_model"):
        bundle = tmp_path / stage.replace("/", "_")
        by_graph.bundle(bundle, stage)
        assert main_here(bundle / "spec.json") == 0
        home = by_graph
        if stage == "cooldown_runs/short":
            home = Home(Path(shutil.copytree(by_graph.folder, tmp_path / "home")))
            shutil.rmtree(home.store.folder("training_run", made.identity))
        adopted = adopt(home.planner(), bundle / "run", print)
        assert adopted.cache == "made"
        if stage == "cooldown_runs/short":
            assert (adopted.artifact.manifest.identity, adopted.artifact.manifest.content) == (
                made.identity,
                made.content,
            )
            assert [json.loads(line)["step"] for line in (bundle / "run" / "metrics.jsonl").open()] == [7, 8]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["final/model.safetensors", "final/model.json", "metrics.jsonl", "summary.json"])
def test_a_flipped_byte_is_refused(home, edited, name):
    flip(edited / name)
    assert f"{name}: is not as the trainer wrote it: damaged or edited; copy it" in refused(home, edited)


def test_files_that_are_missing_or_not_of_the_run_are_named(home, edited):
    (edited / "notes.txt").write_text("my own")  # ignored, as are checkpoints and profiles added by hand
    (edited / "profile").mkdir()
    (edited / "profile" / "other.json").write_text("{}")
    shutil.copytree(edited / "checkpoints" / "step_00000006", edited / "checkpoints" / "step_keep")
    shutil.copytree(edited / "checkpoints" / "step_00000006", edited / "checkpoints" / "step_00000012")
    (edited / "samples.jsonl").rename(edited / "old.jsonl")
    assert "samples.jsonl: is missing" in refused(home, edited)
    (edited / "old.jsonl").rename(edited / "samples.jsonl")
    (edited / "final" / "other.json").write_text("{}")
    assert "this run did not write it (run.json does not list it)" in refused(home, edited)
    (edited / "final" / "other.json").unlink()
    (edited / "checkpoints" / "step_00000006").rename(edited / "checkpoints" / "older")
    assert "step_00000006/checkpoint.json: is missing; copy it too" in refused(home, edited)
    (edited / "checkpoints" / "older").rename(edited / "checkpoints" / "step_00000006")
    home = Home(Path(shutil.copytree(home.folder, edited.parent / "home")))
    assert adopt(home.planner(), edited, print).cache == "made"


def test_damaged_checkpoints_are_refused(home, edited):
    flip(edited / "checkpoints" / "step_00000010" / "rank_0000.safetensors")
    assert "step_00000010: the content of rank_0000.safetensors has changed" in refused(home, edited)
    shutil.rmtree(edited / "checkpoints" / "step_00000010")
    flip(edited / "checkpoints" / "step_00000006" / "rank_0000.safetensors")
    assert "step_00000006: the content of rank_0000.safetensors has changed" in refused(home, edited)


def lines_changed(path, number, **fields):
    lines = path.read_text().splitlines()
    lines[number] = json.dumps({**json.loads(lines[number]), **fields})
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("number", "fields", "words"),
    [
        (4, {"step": 4}, "line 5: expected the steps 1 to 10, once each and in order, but here is 4"),
        (4, {"tokens": 1}, r"line 5: 1 tokens after step 5, but the schedule has 640"),
        (4, {"loss": None}, "line 5: step 5 has no finite loss, and was not skipped"),
        (4, {"batch": "0" * 16}, "line 5: step 5 read the batch 0000000000000000, but seed and shards give"),
        (9, {"validation_loss": 1.0}, "metrics.jsonl has 1.0000 after the last step: they are not of the same run"),
    ],
)
def test_metrics_must_be_of_this_run_even_under_a_seal_that_fits(home, edited, number, fields, words):
    lines_changed(edited / "metrics.jsonl", number, **fields)
    write_fitting_record(edited)
    assert words in refused(home, edited)


def test_a_line_that_is_gone_or_torn_is_missed(home, edited):
    text = (edited / "metrics.jsonl").read_text()
    (edited / "metrics.jsonl").write_text("".join(text.splitlines(keepends=True)[:-1]))
    write_fitting_record(edited)
    assert "line 10: expected the steps 1 to 10" in refused(home, edited)
    assert "here is the end" in refused(home, edited)


def test_weights_must_be_of_this_run_even_with_digests_that_fit(home, edited):
    path = edited / "final" / "model.safetensors"
    tensors = load_file(path)
    name = max(tensors, key=lambda name: tensors[name].numel())
    save_file({**tensors, name: tensors[name].flip(0)}, path)
    info = json.loads((edited / "final" / "model.json").read_text())
    (edited / "final" / "model.json").write_text(json.dumps(info | {"weights_crc32": zlib.crc32(path.read_bytes())}))
    write_fitting_record(edited)
    assert f"{name} is not as in {edited / 'checkpoints' / 'step_00000010'}" in refused(home, edited)
    shutil.rmtree(edited / "checkpoints" / "step_00000010")
    assert "they are not of the same run" in refused(home, edited)


def test_a_run_json_that_was_edited_is_refused(home, edited):
    change(edited / "run.json", "pretrained_model", "pretrained_mode1")
    assert "run.json: damaged or edited (the content of run.json has changed)" in refused(home, edited)


def test_a_spec_that_was_edited_says_which_field(home, edited):
    write_fitting_record(edited, seed=8)
    message = refused(home, edited)
    assert "spec.json was changed after the bundle was written" in message
    assert "seed: 0 → 8" in message or "→ 8" in message
    write_fitting_record(edited, seed=home.experiment.seed, identity="0" * 32)
    assert "its identity does not follow from its recipe" in refused(home, edited)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("training:\n  tokens: 1280", "seed: 5\ntraining:\n  tokens: 1280", "→ 5"),
        ("tokens: 1280", "tokens: 1408", "training.tokens: 1280 → 1408"),
        ("long_context:", "model: {feed_forward: {d_ff: 128}}\nlong_context:", "model.feed_forward.d_ff: 64 → 128"),
    ],
)
def test_another_experiment_is_told_field_by_field(copied, came_back, old, new, words):
    copied.edit = (old, new)
    message = refused(copied, came_back)
    assert words in message
    assert "Restore the experiment and its inputs" in message


def test_other_shards_are_refused(copied, came_back, edited):
    copied.tokens = 21_000
    copied.make("token_shards")
    assert "input token_shards has other content" in refused(copied, came_back)
    spec = json.loads(json.loads((edited / "run.json").read_text())["content"])["spec"]
    spec["bundle"]["inputs"]["shards"]["shards.json"]["sha256"] = "0" * 64
    write_fitting_record(edited, bundle=spec["bundle"])
    copied.tokens = 20_000
    message = refused(copied, edited)
    assert "was trained on other inputs than those in the store" in message
    assert "shards.json: its content differs" in message


def test_a_store_without_the_inputs_says_what_to_make(copied, came_back):
    shutil.rmtree(copied.store.root / "artifacts" / "token_shards")
    message = refused(copied, came_back)
    assert "this store lacks its current inputs: adopt the run where its" in message
    assert "--select token_shards" in message


def test_other_code_is_refused_function_by_function(copied, came_back, tmp_path):
    for package in ("llm_core", "tests/train"):
        shutil.copytree(PROJECT / package, tmp_path / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
    change(tmp_path / "code" / "llm_core" / "train" / "parameter_groups.py", "weight_decay", "other_decay")
    copied.code = tmp_path / "code"
    message = refused(copied, came_back)
    assert "code llm_core.train.parameter_groups:" in message
    assert "`pedigree accept` then accepts it for the current code" in message


def test_what_is_no_run_is_refused(home, came_back, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "contains no run" in refused(home, tmp_path / "empty")
    with pytest.raises(PedigreeError, match="there is no such folder"):
        adopt(home.planner(), tmp_path / "nowhere", print)
    with pytest.raises(PedigreeError, match=rf"the run of this bundle is {came_back}"):
        adopt(home.planner(), came_back.parent, print)


def test_a_run_that_no_bundle_began_is_refused(home, edited):
    write_fitting_record(edited, bundle=None)
    assert "was not started from a bundle" in refused(home, edited)
