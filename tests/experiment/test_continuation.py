from pathlib import Path

import pytest

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment

MIXER = "{kind: attention, n_heads: 4}"
FEED_FORWARD = "feed_forward: {kind: swiglu, d_ff: 128}"
HEAD = f"""
model: {{d_model: 64, n_layers: 2, mixer: {MIXER}, {FEED_FORWARD}}}
"""
HEAD += """\
training:
  sequence_length: 256
  batch_tokens: 1024
  tokens: 102_400
  schedule: {kind: wsd, warmup_steps: 10, cooldown_steps: 20}
  branch_points: [40, 80]
"""
LONGER = "sequence_length: 512, batch_tokens: 1024, tokens: 4096"


def load(folder: Path, sections: str):
    path = folder / "small.yaml"
    path.write_text(HEAD + sections)
    return load_experiment(path)


def test_branches_and_a_longer_context_become_stages(tmp_path):
    scaling = "{kind: yarn, factor: 2, original_length: 256}"
    experiment = load(
        tmp_path,
        f"branches: {{early: {{from_step: 40, steps: 8, final_share: 0.1}}, late: {{from_step: 80, steps: 30}}}}\n"
        f"long_context: {{training: {{{LONGER}}}, position: {{scaling: {scaling}}}}}\n",
    )
    graph = experiment_graph(experiment)
    early, late = (graph[f"cooldown_runs/{name}"] for name in ("early", "late"))
    assert early.inputs == {
        "shards": "token_shards",
        "tokenizer": "tokenizer",
        "start": "pretrained_model",
    }
    trained = [stage.config["training"] for stage in (early, late)]
    assert [training.steps for training in trained] == [48, 110]
    assert [training.schedule.cooldown_steps for training in trained] == [8, 30]
    assert (trained[0].schedule.final_share, trained[0].schedule.warmup_steps, trained[0].branch_points) == (
        0.1,
        10,
        (),
    )
    assert set(graph["training_report"].inputs) >= {early.name, late.name, "long_context_model"}
    longer = graph["long_context_model"]
    assert {layer.mixer.position.scaling.kind for layer in longer.config["model"].layers} == {"yarn"}
    assert longer.config["training"].sequence_length == 512
    assert longer.kind == early.kind == graph["pretrained_model"].kind


def test_growing_batches_count_in_a_branch(tmp_path):
    phases = "[{from_step: 0, batch_tokens: 512}, {from_step: 50, batch_tokens: 1024}]"
    path = tmp_path / "small.yaml"
    path.write_text(
        HEAD.replace("  branch", f"  batch_schedule: {phases}\n  branch") + "branches: {b: {from_step: 80, steps: 9}}"
    )
    branch = experiment_graph(load_experiment(path))["cooldown_runs/b"]
    assert branch.config["training"].steps == 89


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ("branches: {b: {from_step: 50, steps: 8}}", r"branches\.b: from_step 50 is not one of .* \[40, 80\]"),
        ("branches: {'b c': {from_step: 40, steps: 8}}", "branches"),
        (
            f"long_context: {{training: {{{LONGER.replace('512', '256', 1)}}}}}",
            "sequence_length 256 is not above the full run's 256",
        ),
        (
            f"long_context: {{training: {{{LONGER}, mixture: {{weights: {{web: 1}}}}}}}}",
            r"long_context\.training\.mixture\.weights: no source",
        ),
        (
            f"long_context: {{training: {{{LONGER}}}, position: {{scaling: {{kind: yarn, factor: 2, "
            "original_length: 256, high_frequency: 0.5}}}",
            "high_frequency 0.5 must be above low_frequency",
        ),
    ],
)
def test_what_cannot_go_on_is_said(tmp_path, sections, message):
    with pytest.raises(PedigreeError, match=message):
        load(tmp_path, sections)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ("kind: wsd, warmup_steps: 10, cooldown_steps: 20", "kind: cosine"),
            "branches leave a rate that stays, .* and not 'cosine'",
        ),
        (("warmup_steps: 10", "warmup_steps: 50"), r"branch_points \[40\]: .* from 50 to 80"),
        (("[40, 80]", "[40, 90]"), r"branch_points \[90\]: .* from 10 to 80"),
        (("[40, 80]", "[80, 40]"), r"branch_points \[80, 40\] must rise"),
        (("[40, 80]", "[40, 101]"), r"branch_points \[101\]: .* from 10 to 80"),
    ],
)
def test_a_branch_leaves_where_the_rate_stays(tmp_path, changes, message):
    path = tmp_path / "small.yaml"
    late = 90 if "90" in changes[1] else 80
    branches = f"branches: {{early: {{from_step: 40, steps: 8}}, late: {{from_step: {late}, steps: 8}}}}\n"
    path.write_text(HEAD.replace(*changes) + branches)
    with pytest.raises(PedigreeError, match=message):
        load_experiment(path)


def test_a_branch_out_of_the_bags_has_steps_of_single_tokens(tmp_path):
    path = tmp_path / "small.yaml"
    bags = HEAD.replace("training:", "training:\n  superposition: {tokens: 4, steps: 48}")
    path.write_text(bags + "branches: {b: {from_step: 40, steps: 8}}\n")
    with pytest.raises(PedigreeError, match=r"branches\.b: superposition: steps 48 leave none of the 48 steps"):
        load_experiment(path)
    path.write_text(bags + "branches: {b: {from_step: 40, steps: 9}}\n")
    load_experiment(path)


def test_bags_do_not_go_with_multi_token_prediction(tmp_path):
    path = tmp_path / "small.yaml"
    several = HEAD.replace(FEED_FORWARD, f"{FEED_FORWARD}, multi_token: {{depth: 1}}")
    path.write_text(several.replace("training:", "training:\n  superposition: {tokens: 4, steps: 9}"))
    with pytest.raises(PedigreeError, match=r"training\.superposition: does not go with model\.multi_token"):
        load_experiment(path)


def test_a_longer_context_is_examined_as_the_full_run_is(tmp_path):
    path = tmp_path / "small.yaml"
    several = HEAD.replace(FEED_FORWARD, f"{FEED_FORWARD}, multi_token: {{depth: 1}}")
    path.write_text(several + f"long_context: {{training: {{{LONGER}, superposition: {{tokens: 4, steps: 1}}}}}}\n")
    with pytest.raises(PedigreeError, match=r"long_context\.training\.superposition: does not go"):
        load_experiment(path)


def test_learned_positions_end_where_they_end(tmp_path):
    path = tmp_path / "small.yaml"
    absolute = "absolute_position: {kind: learned, max_positions: 256}"
    learned = HEAD.replace("n_heads: 4", "n_heads: 4, position: nope").replace("d_model", f"{absolute}, d_model")
    path.write_text(learned + f"long_context: {{training: {{{LONGER}}}}}\n")
    with pytest.raises(PedigreeError, match=r"sequence_length 512: the model can read 256 tokens"):
        load_experiment(path)


MLA = (
    "{kind: mla, n_heads: 4, kv_rank: 16, nope_dim: 8, rope_dim: 8, value_dim: 16, position: {kind: rope, theta: 500}}"
)
YARN = "{kind: yarn, factor: 2, original_length: 256}"
LINEAR = "{kind: linear, factor: 2, original_length: 256}"


def at(position: str) -> str:
    """The mixer of ``HEAD`` with this position."""
    return MIXER.replace("}", f", position: {position}}}")


def stretch(folder: Path, model: str, positions: str):
    """``model``: the mixer, where it is another than that of ``HEAD``, and a pattern."""
    path = folder / "small.yaml"
    head = HEAD.replace(MIXER, model if model.startswith("{") else f"{MIXER}, {model}" if model else MIXER)
    path.write_text(head + f"long_context: {{training: {{{LONGER}}}, position: {{{positions}}}}}\n")
    return load_experiment(path)


@pytest.mark.parametrize(
    ("model", "positions", "message"),
    [
        (at("alibi"), "theta: 1e6", r"long_context\.position: no layer .* has a position with settings"),
        ("{kind: liv}", "theta: 1e6", r"long_context\.position: no layer with attention"),
        ("", "thetta: 1e6", "long_context: mixer: attention: position: rope: thetta: there is no such key"),
        ("", "theta: 10000.0", r"position\.theta: layer 0 keeps its own: give another value"),
        (
            "pattern: [{}, {mixer: {position: {theta: 1e5}}}]",
            "theta: 1e6",
            r"position\.theta: layer 1 keeps .* out of the model's pat",
        ),
        (
            "pattern: [{}, {mixer: {position: {theta: 1e5}}}]",
            f"theta: 1e6, scaling: {YARN}",
            r"position\.theta: layer 1 keeps",
        ),
        (
            "pattern: [{mixer: {window: 8, position: {theta: 1e5}}}]",
            "theta: 1e6",
            r"position\.theta: layer 0 keeps its own",
        ),
        (
            f"pattern: [{{mixer: {{position: {{scaling: {LINEAR}}}}}}}, {{}}]",
            f"scaling: {YARN}",
            r"position\.scaling: layer 0 keeps its own",
        ),
        (
            "",
            f"scaling: {YARN.replace('256', '512')}",
            r"long_context\.position\.scaling\.original_length 512: .* of 256 tokens .* make it 256",
        ),
        (
            "",
            f"scaling: {YARN.replace('2,', '1.9,')}",
            r"factor 1\.9: 256 tokens become 486\.4, .* make it 2 or more",
        ),
        ("", f"scaling: {LINEAR.replace('2,', '1.5,')}", r"position\.scaling\.factor 1\.5: .* make it 2 or more"),
    ],
)
def test_positions_are_stretched_as_far_as_is_asked_or_refused(tmp_path, model, positions, message):
    with pytest.raises(PedigreeError, match=message):
        stretch(tmp_path, model, positions)


@pytest.mark.parametrize(
    ("model", "positions"),
    [
        ("", "theta: 1e6"),
        # a window reaches no further than before
        ("pattern: [{mixer: {window: 8, position: {theta: 1e5}}}, {}]", "theta: 1e6"),
        ("pattern: [{}, {mixer: {position: nope}}]", f"scaling: {YARN}"),
        ("", f"scaling: {LINEAR.replace('256', '99')}"),  # which asks for no length
        (
            at(f"{{kind: rope, scaling: {YARN.replace('256', '128')}}}"),
            "scaling: {kind: yarn, factor: 4, original_length: 128}",
        ),
    ],
)
def test_what_stretches_all_that_see_further(tmp_path, model, positions):
    stretch(tmp_path, model, positions)


@pytest.mark.parametrize(
    ("model", "thetas"),
    [
        (at("nope") + ", pattern: [{}, {mixer: {position: rope}}]", [None, 1e6]),
        (at("alibi") + ", pattern: [{mixer: {position: {kind: rope, theta: 500}}}, {}]", [1e6, None]),
        (f"pattern: [{{mixer: {MLA}}}, {{}}]", [1e6, 1e6]),
        (f"{{kind: liv}}, pattern: [{{}}, {{mixer: {MLA}}}]", [None, 1e6]),
        (f"pattern: [{{mixer: {at('nope')}}}, {{mixer: {{window: 8}}}}]", [None, 1e6]),
        ("pattern: [{mixer: liv}, {norm: layernorm}]", [None, 1e6]),
    ],
)
def test_all_kinds_of_mixers_with_such_a_position_are_stretched(tmp_path, model, thetas):
    experiment = stretch(tmp_path, model, "theta: 1e6")
    layers = experiment.long_context.model(experiment.model).layers
    assert [getattr(layer.mixer.position_of(), "theta", None) for layer in layers] == thetas


def test_a_longer_context_begins_with_a_trained_model_and_may_clamp_lower(tmp_path):
    load(tmp_path, f"long_context: {{training: {{{LONGER}, loss_clamp: 5.0}}}}")
