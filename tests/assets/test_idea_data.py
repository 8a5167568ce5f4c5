"""Ideas that change the data have stages of their own for what differs, and share all else."""

from pathlib import Path

import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from llm_core.graph.graph import Graph
from llm_core.study.heldout_coverage import HeldoutCoverage, all_validated

IDEAS = """
    strict: {data: {cleaning: {rules: {min_words: {min: 50}}}}}
    exact: {data: {dedup: {method: exact}}}
    words: {data: {tokenizer: {vocab_size: 700}}}
    judged: {data: {quality: {good: {paths: [good]}, keep_share: 0.5}}, training: {z_loss: 1e-4}}
    both: {data: {cleaning: {uncased: true}, tokenizer: {vocab_size: 300}}}
"""


def graph(folder: Path, ideas: str = IDEAS) -> Graph:
    path = folder / "small.yaml"
    path.write_text(f"""
model:
  d_model: 64
  n_layers: 2
  mixer: {{kind: attention, n_heads: 4, n_kv_heads: 2}}
  feed_forward: {{kind: swiglu, d_ff: 128}}
raw: {{sources: [{{kind: files, name: web, paths: [a]}}]}}
tokenizer: {{vocab_size: 400}}
training: {{sequence_length: 256, batch_tokens: 1024, tokens: 10_000, schedule: wsd, validation_tokens: 1000}}
study:
  sizes: [{{width: 32, ideas: true, seeds: 2}}]
  tokens: [5120]
  gate: null
  ideas: {ideas}
""")
    return experiment_graph(load_experiment(path))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("ideas"))


def own(graph: Graph, idea: str) -> list[str]:
    prefix = f"idea_data/{idea}/"
    return [stage.name.removeprefix(prefix) for stage in graph if stage.name.startswith(prefix)]


def test_only_what_differs_is_made_again(made: Graph) -> None:
    rest = ["unique_documents", "decontaminated_documents", "pretraining_documents", "token_shards"]
    assert own(made, "strict") == ["clean_documents", *rest]
    assert own(made, "exact") == rest
    assert own(made, "words") == ["tokenizer", "token_shards", "heldout_coverage"]
    assert own(made, "judged") == ["quality_classifier", "judged_documents", *rest]
    assert own(made, "both") == ["clean_documents", *rest[:3], "tokenizer", "token_shards", "heldout_coverage"]
    assert made["idea_data/exact/unique_documents"].inputs == {"documents": "clean_documents"}
    assert made["idea_data/words/token_shards"].inputs == {
        "documents": "pretraining_documents",
        "tokenizer": "idea_data/words/tokenizer",
    }
    # Other documents, and the launched tokenizer.
    assert made["idea_data/strict/token_shards"].inputs == {
        "documents": "idea_data/strict/pretraining_documents",
        "tokenizer": "tokenizer",
    }
    # An artifact is found again by its kind, its settings and the content of its inputs, and not by its name.
    assert made["idea_data/exact/unique_documents"].kind == "unique_documents"


def test_all_sides_are_judged_on_the_launched_held_out_text(made: Graph) -> None:
    for idea in ("strict", "exact", "judged", "both"):
        assert made[f"idea_data/{idea}/pretraining_documents"].inputs["launched"] == "pretraining_documents"


def test_runs_read_the_shards_of_their_idea_for_equal_tokens(made: Graph) -> None:
    runs = {stage.name: stage for stage in made if stage.name.startswith("idea_runs/")}
    assert len(runs) == 2 * 5
    baseline = made["scaling_runs/width_32_steps_5"]
    for name, stage in runs.items():
        idea = name.split("/")[1]
        assert stage.inputs["shards"] == f"idea_data/{idea}/token_shards"
        assert stage.config["training"].tokens == baseline.config["training"].tokens
    assert runs["idea_runs/words/width_32"].inputs["tokenizer"] == "idea_data/words/tokenizer"
    assert runs["idea_runs/words/width_32"].config["vocab_size"] == 700
    assert runs["idea_runs/strict/width_32"].config["vocab_size"] == 400
    assert runs["idea_runs/judged/width_32"].config["training"].z_loss == 1e-4
    report = made["ablation_report"]
    parameters = {run.idea: run.parameters for run in report.config["runs"]}
    assert parameters["words"] > parameters[""] == parameters["strict"] > parameters["both"]
    assert report.config["shards"] == {i: f"idea_data/{i}/token_shards" for i in ("words", "both")}


def test_another_tokenizer_waits_until_a_validation_reads_all_held_out_text(made: Graph) -> None:
    gates = ("idea_data/words/heldout_coverage", "idea_data/both/heldout_coverage")
    assert made["idea_runs/words/width_32"].gates == made["scaling_runs/width_32_trunk_4"].gates == gates
    assert made["pretrained_model"].gates == ()
    bounds = made["idea_data/words/heldout_coverage"].bounds
    assert bounds.validation_tokens == 1000
    assert all_validated(HeldoutCoverage(tokens=1000), bounds).passed
    closed = all_validated(HeldoutCoverage(tokens=2000), bounds)
    assert not closed.passed
    assert "set training.validation_tokens to at least 2000" in closed.message


@pytest.mark.parametrize(
    ("idea", "message"),
    [
        ("{raw: {documents_per_part: 5}}", r"data\.raw: all sides start from the same documents; .* study\.mixtures"),
        ("{split: {heldout_share: 0.1}}", r"data\.split: all sides are judged on the launched held-out text"),
        ("{decontamination: {threshold: 1.0}}", r"data\.decontamination: no side may train on text of the suites"),
        ("{shards: {dtype: uint32}}", r"data\.shards: how ids are stored changes no loss"),
        ("{cleanin: {}}", r"data\.cleanin: there is no such section; an idea changes cleaning, quality, dedup, token"),
        ("{cleaning: {rules: {min_wrds: {min: 5}}}}", r"data\.cleaning: .*min_wrds"),
        ("{dedup: null}", r"data\.dedup: give fields of the section dedup \(it is None\)"),
        ("{dedup: {prefer: [blogs]}}", r"study\.ideas\.a: dedup\.prefer: no source in raw\.sources is called blogs"),
        (
            "{tokenizer: {vocab_size: 70000}}",
            r"study\.ideas\.a: tokenizer\.vocab_size 70000 does not fit shards",
        ),
        ("{tokenizer: {vocab_size: 400}}", r"study\.ideas\.a: data: it changes nothing"),
        ("{}", r"study\.ideas\.a: data: it changes nothing"),
        ("[cleaning]", r"study\.ideas\.a: data: give sections"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(tmp_path: Path, idea: str, message: str) -> None:
    with pytest.raises(PedigreeError, match=message):
        graph(tmp_path, f"{{a: {{data: {idea}}}}}")
