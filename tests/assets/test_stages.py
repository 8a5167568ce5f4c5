"""What holds for every stage of every experiment."""

import inspect
from pathlib import Path

import pytest

from assets.graph import experiment_graph
from assets.study import study_ladder
from llm_core.data.results import PretrainingDocuments
from llm_core.experiment.load import load_experiment
from llm_core.graph.graph import Graph
from llm_core.registry import load_object
from llm_core.store.store import Store
from pipelines.experiments import FOLDER
from pipelines.planner import open_planner

GRAPHS = [experiment_graph(load_experiment(path)) for path in sorted(FOLDER.glob("*.yaml"))]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.experiment)
def test_a_build_gets_exactly_its_slice(graph: Graph) -> None:
    for stage in graph:
        first, *rest = inspect.signature(load_object(stage.build)).parameters
        assert first == "job"
        assert set(rest) == set(stage.config), stage.name


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.experiment)
def test_every_stage_is_described_and_checked(graph: Graph) -> None:
    for stage in graph:
        assert stage.description.endswith(".")
        assert stage.checks
        for target in stage.targets:
            assert callable(load_object(target)), target


def test_the_whole_story_is_told() -> None:
    (tiny,) = [graph for graph in GRAPHS if graph.experiment == "tiny"]
    assert [stage.name for stage in tiny if stage.group != "study"] == [
        "raw_documents",
        "clean_documents",
        "unique_documents",
        "decontaminated_documents",
        "pretraining_documents",
        "tokenizer",
        "token_shards",
        "pretrained_model",
        "eval_results",
        "generation_samples",
        "data_report",
        "hf_export",
        "training_report",
    ]
    study = [stage for stage in tiny if stage.group == "study"]
    assert {stage.name.partition("/")[0] for stage in study if stage.trains} == {
        *("scaling_runs", "rate_runs", "idea_runs"),
    }
    assert {stage.name for stage in study if not stage.trains} == {
        *("noise_law", "rate_law", "batch_law", "ablation_report", "scaling_law", "forecast", "launch_gate"),
        *("study_cost", "forecast_score", "study_report"),
    }


def test_a_study_that_evaluates_scores_its_cooled_down_runs_as_the_full_run() -> None:
    tiny = load_experiment(FOLDER / "tiny.yaml")
    assert tiny.study is not None
    evaluating = tiny.model_copy(update={"study": tiny.study.model_copy(update={"evaluate": True})})
    graph = experiment_graph(evaluating)
    scored = [stage for stage in graph if stage.name.startswith("eval_runs/")]
    assert {stage.inputs["model"] for stage in scored} == {run.role for run in study_ladder(tiny).of("cooldown")}
    full = graph["eval_results"]
    for stage in scored:
        assert (stage.kind, stage.build, stage.checks) == (full.kind, full.build, full.checks)
        assert {**stage.config, "model": None} == {**full.config, "model": None}, "the same items"
    assert "suite_forecast" in graph["launch_gate"].inputs, "sealed"
    assert "eval_results" in graph["forecast_score"].inputs
    assert {"suite_signal", "suite_forecast"} < graph["training_report"].inputs.keys()
    assert {"suite_signal", "suite_forecast"} < graph["study_report"].inputs.keys()
    no_gate = experiment_graph(
        tiny.model_copy(update={"study": tiny.study.model_copy(update={"evaluate": True, "gate": None})})
    )
    assert "suite_signal" in no_gate
    assert "suite_forecast" not in no_gate


def test_what_cannot_be_mended_later_blocks() -> None:
    (tiny,) = [graph for graph in GRAPHS if graph.experiment == "tiny"]
    blocking = {target.partition(":")[2] for stage in tiny for target in stage.blocking}
    assert {"not_empty", "drop_share", "no_overlap", "unk_rate", "token_counts", "loss_finite", "loss_fell"} <= blocking


def test_an_idea_that_diverges_stops_no_report() -> None:
    (tiny,) = [graph for graph in GRAPHS if graph.experiment == "tiny"]
    blocks = {stage.name: set(stage.blocking) for stage in tiny if stage.group == "study" and stage.trains}
    parts = {name.partition("/")[0] for name, checks in blocks.items() if not checks}
    assert parts == {"rate_runs", "idea_runs"}
    assert all("loss_finite" in stage.checks for stage in tiny if stage.trains)


def test_evaluation_settings_remake_no_training() -> None:
    (tiny,) = [graph for graph in GRAPHS if graph.experiment == "tiny"]
    split = next(stage for stage in tiny if stage.name == "pretraining_documents")
    assert "llm_core.data.split:heldout_usable" in split.blocking
    assert {"heldout_usable", "heldout_needed", "heldout_characters"} == set(PretrainingDocuments.volatile())
    reading = {stage.name for stage in tiny if "evaluation" in stage.config}
    assert reading == {"pretraining_documents", "eval_results"}


def test_equal_ideas_are_one_run_and_another_seed_is_another(tmp_path: Path) -> None:
    tiny = load_experiment(FOLDER / "tiny.yaml")
    assert tiny.study is not None
    ideas = {"one": {"logit_softcap": 30.0}, "same": {"logit_softcap": 30.0}}
    graph = experiment_graph(tiny.model_copy(update={"study": tiny.study.model_copy(update={"ideas": ideas})}))
    planner = open_planner(graph, Store(tmp_path))
    one, same, again = (
        planner.recipe(f"idea_runs/{name}") for name in ("one/width_64", "same/width_64", "one/width_64_seed_2")
    )
    assert same == one
    assert again.config == {**one.config, "seed": 1338}
    items = {item.stage: item for item in planner.plan()}
    assert items["idea_runs/same/width_64"].notes == ["the same run as idea_runs/one/width_64"]
