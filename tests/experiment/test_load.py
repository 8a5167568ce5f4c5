from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec, canonical, later
from llm_core.experiment.load import load_experiment
from llm_core.experiment.training import TrainingSpec
from llm_core.train.optimizers.muon.spec import Muon
from llm_core.train.schedules.cosine import Cosine
from pipelines.experiments import FOLDER, experiment_file

MODEL = (
    "model: {d_model: 64, n_layers: 2, mixer: {kind: attention, n_heads: 4, n_kv_heads: 2}, "
    "feed_forward: {kind: relu, d_ff: 128}}"
)
MINIMAL = (
    f"\n{MODEL}\n"
    + """\
training: {batch_tokens: 1024, tokens: 100_000, optimizer: {lr: 3e-3}}
"""
)


def write(folder: Path, text: str, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_name_comes_from_the_file_and_numbers_are_numbers(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, MINIMAL))
    assert experiment.name == "small"
    assert experiment.training.optimizer.lr == 0.003
    assert experiment.training.steps == 97


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_that_come_with_pedigree_load(path: Path) -> None:
    assert load_experiment(path).name == path.stem


def test_a_key_beside_a_yaml_merge_replaces_the_merged_one(tmp_path: Path) -> None:
    text = MINIMAL.replace("{lr: 3e-3}", "&first {lr: 3e-3, weight_decay: 0.3}") + (
        "instruct: {sources: [{name: a, paths: [a.jsonl], prompt: '{q}', answer: '{a}'}], training: &second "
        "{batch_tokens: 1024, tokens: 50_000, optimizer: {<<: *first, lr: 2e-3}}}\n"
        "chat: {sources: [{name: a, paths: [a.jsonl], messages: m}], training: {<<: *second, tokens: 10_240}}\n"
    )
    experiment = load_experiment(write(tmp_path, text))
    assert experiment.chat is not None
    training = experiment.chat.training
    assert (training.tokens, training.optimizer.lr, training.optimizer.weight_decay) == (10_240, 0.002, 0.3)


def test_extends_merges_sections_and_null_removes_a_rule(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "cleaning: {rules: {min_words: {min: 5}, max_words: {max: 9}}}\nseed: 3\n", "base.yaml")
    path = write(tmp_path, "extends: base\ncleaning: {rules: {min_words: null}}\ntraining: {grad_clip: null}\n")
    experiment = load_experiment(path)
    assert list(experiment.cleaning.rules) == ["max_words"]
    assert experiment.training.grad_clip is None
    assert (experiment.seed, experiment.name) == (3, "small")


@pytest.mark.parametrize(
    ("model", "dumped"),
    [
        ("mixer: {n_kv_heads: 1}", {"mixer": {"kind": "attention", "n_heads": 4, "n_kv_heads": 1, "window": None}}),
        ("mixer: {kind: attention, window: 8}", {"mixer": {"n_heads": 4, "n_kv_heads": 2, "window": 8}}),
        ("mixer: {kind: liv, kernel: 5}", {"mixer": {"kind": "liv", "kernel": 5}}),
        ("mixer: liv", {"mixer": {"kind": "liv", "kernel": 3}}),
        ("feed_forward: {kind: swiglu, d_ff: 96}", {"feed_forward": {"kind": "swiglu", "d_ff": 96}}),
        ("feed_forward: null", {"feed_forward": None}),
        ("norm: {eps: 1e-6}", {"norm": {"kind": "layernorm", "eps": 1e-6}}),
        (
            "mixer: {position: {scaling: {factor: 4.0}}}",
            {"mixer": {"position": {"theta": 5.0, "scaling": {"factor": 4.0}}}},
        ),
        (
            "mixer: {position: {scaling: {kind: linear, factor: 3.0, original_length: 9}}}",
            {"mixer": {"position": {"scaling": {"factor": 3.0, "low_frequency": 1.0}}}},
        ),
        ("mixer: {position: {scaling: null}}", {"mixer": {"position": {"theta": 5.0, "scaling": None}}}),
        ("mixer: {position: nope}", {"mixer": {"n_heads": 4, "position": {"kind": "nope"}}}),
        (
            "preset: tiny_llama3",
            {
                "d_model": 128,
                "norm": {"kind": "rmsnorm"},
                "mixer": {"window": None, "position": {"theta": 500_000.0, "scaling": None}},
            },
        ),
        ("preset: tiny_llama3, mixer: {window: 8}", {"n_layers": 4, "mixer": {"n_kv_heads": 2, "window": 8}}),
    ],
)
def test_extends_replaces_a_component_by_one_of_another_kind(
    tmp_path: Path, model: str, dumped: dict[str, Any]
) -> None:
    far = "{kind: rope, theta: 5.0, scaling: {kind: yarn, factor: 2.0, original_length: 9, low_frequency: 2.0}}"
    base = MINIMAL.replace("n_heads: 4", f"n_heads: 4, position: {far}").replace("d_model", "norm: layernorm, d_model")
    write(tmp_path, base, "base.yaml")
    found = load_experiment(write(tmp_path, f"extends: base\nmodel: {{{model}}}\n")).model.model_dump(mode="json")
    assert _contains(found, dumped), found


@pytest.mark.parametrize(
    ("below", "above", "dumped"),
    [
        (
            "mixer: {window: 8}",
            "mixer: {kind: mla, n_heads: 2, kv_rank: 8, nope_dim: 4, rope_dim: 4, value_dim: 4}",
            None,
        ),
        ("mixer: {window: 8}", "mixer: {kind: attention, n_kv_heads: 1}", (8, 500_000.0)),
        ("mixer: {window: 8, position: {scaling: null}}", "mixer: {position: {theta: 9.0}}", (8, 9.0)),
        ("mixer: {window: 8, position: {theta: 9.0}}", "mixer: {position: {kind: alibi}}", (8, None)),
    ],
)
def test_settings_over_a_preset_are_of_its_kind(
    tmp_path: Path, below: str, above: str, dumped: tuple[int, float | None] | None
) -> None:
    section = f"model: {{preset: tiny_llama3, {below}}}\n"
    write(tmp_path, MINIMAL.replace(f"{MODEL}\n", section), "base.yaml")
    mixer = load_experiment(write(tmp_path, f"extends: base\nmodel: {{{above}}}\n")).model.mixer.model_dump()
    assert (mixer["window"], mixer["position"].get("theta")) == (dumped or (None, 10_000.0))


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(name in whole and _contains(whole[name], value) for name, value in part.items())
    return bool(whole == part)


def test_extends_replaces_a_schedule_and_an_optimizer_by_one_of_another_kind(tmp_path: Path) -> None:
    schedule, optimizer = (
        "{kind: wsd, warmup_steps: 5, cooldown_steps: 9}",
        "{kind: adamw, lr: 3e-3, weight_decay: 0.3}",
    )
    write(
        tmp_path, MINIMAL.replace("optimizer: {lr: 3e-3}", f"optimizer: {optimizer}, schedule: {schedule}"), "base.yaml"
    )

    def training(text: str) -> TrainingSpec:
        return load_experiment(write(tmp_path, f"extends: base\ntraining: {text}\n")).training

    other = training("{schedule: {kind: cosine, final_share: 0.2}, optimizer: {kind: muon, lr: 1e-2}}")
    assert other.schedule == Cosine(final_share=0.2)
    assert other.optimizer == Muon(lr=1e-2)
    same = training("{schedule: {cooldown_steps: 7}, optimizer: {kind: adamw, lr: 1e-2}}")
    assert (same.schedule.kind, same.schedule.warmup_steps, same.schedule.cooldown_steps) == ("wsd", 5, 7)
    assert (same.optimizer.lr, same.optimizer.weight_decay) == (1e-2, 0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", r"small\.yaml: line 1, column 9: "),
        ("- a\n", "an experiment is a mapping of sections, not list"),
        ("seed: 1\nseed: 2\n", "line 2, column 1: the key 'seed' is repeated"),
        ("1: 2\n", "the key 1 is not text"),
        (MINIMAL + "modle: {}\n", "modle: there is no such key"),
        (MINIMAL.replace("d_model", "d_modell"), r"model\.d_model: Field required"),
        (MINIMAL.replace("n_heads: 4", "n_heads: 5"), "model: d_model 64 must be a multiple of n_heads 5"),
        (MINIMAL.replace("n_kv_heads: 2", "n_kv_heads: 3"), "model: n_heads 4 is not a multiple of n_kv_heads 3"),
        (MINIMAL.replace("d_ff: 128", "d_ff: '128'"), r"model\.feed_forward: relu: d_ff: .*integer \(it is '128'\)"),
        (MINIMAL.replace("d_ff: 128", "d_ff: -1"), r"model\.feed_forward: relu: d_ff: .*greater than or equal to 1"),
        (MINIMAL.replace("3e-3", ".nan"), r"training\.optimizer: adamw: lr: "),
        (MINIMAL.replace("100_000", "10"), "training: tokens 10 is less than one batch"),
        (MINIMAL.replace("batch_tokens: 1024", "batch_tokens: 1000"), "training: batch_tokens 1000 is not a multiple"),
        (MINIMAL + "tokenizer: {vocab_size: 70000}\n", "tokenizer.vocab_size 70000 does not fit shards.dtype uint16"),
        (MINIMAL + "cleaning: {rules: {min_wrods: {min: 1}}}\n", "unknown cleaning rule 'min_wrods'; known: "),
        (MINIMAL + "cleaning: {rules: {min_words: {}}}\n", "give 'min', 'max' or both"),
        (MINIMAL + "raw: {sources: []}\n", r"raw\.sources: "),
        (MINIMAL + "dedup: {prefer: [wiki]}\n", r"dedup\.prefer: no source in raw\.sources is called wiki; known: "),
        (MINIMAL + "dedup: {minhash: {bands: 600}}\n", r"dedup\.minhash: bands 600 times rows 8 is more than 4096"),
        (
            MINIMAL + "decontamination: {min_words: 14}\n",
            r"decontamination: min_words 14 must be at most ngram_words 13",
        ),
        (MINIMAL + "raw: {sources: [{kind: webs}]}\n", r"raw\.sources\.0: "),
        (MINIMAL + "extends: nowhere\n", "extends: there is no "),
        (MINIMAL + "extends: small\n", "'extends' forms a cycle: small.yaml → small.yaml"),
        (MINIMAL + "description: 2026-01-01\n", r"small\.yaml: 2026-01-01 is not a number, text, list or mapping; "),
        (MINIMAL + "name: Bad Name\n", "name: "),
        *(
            (
                MINIMAL + f"tokenizer: {{freeze: {value}}}\n",
                r"^\S+: tokenizer\.freeze: give true, false, or .* \(it is .*$",
            )
            for value in ("abc", "null", "12345678901234567890123456789012", "[a]")
        ),
        (
            MINIMAL + "cleaning: {plain_quotes: straight}\n",
            r"^\S+: cleaning\.plain_quotes: give true, false or curly \(it is",
        ),
        (
            MINIMAL + "evaluation: {suites: [{kind: multiple_choice, name: a, path: b, choices: [x]}]}\n",
            r"^\S+: evaluation\.suites\.\S+choices: name the field that holds .* \(it is \['x'\]\)$",
        ),
    ],
)
def test_errors_name_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PedigreeError, match=message) as error:
        load_experiment(path)
    assert str(path) in str(error.value)


def test_a_wrong_item_of_a_list_is_one_error(tmp_path: Path) -> None:
    quality = "quality: {labelled: {path: a.jsonl, good_labels: [yes]}, min_score: 0.5}\n"
    path = write(tmp_path, MINIMAL + quality)
    with pytest.raises(PedigreeError) as raised:
        load_experiment(path)
    place = "quality.labelled.good_labels.0"
    assert str(raised.value) == f"{path}: {place}: Input should be a valid string (it is True)"
    path = write(tmp_path, MINIMAL + "raw: {sources: []}\n")
    with pytest.raises(PedigreeError, match="should have at least 1 item"):
        load_experiment(path)


def test_a_suite_may_name_a_field_for_each_choice(tmp_path: Path) -> None:
    suite = "{kind: multiple_choice, name: a, path: b, query: q, choices: ['no', 'yes'], gold: 'yes'}"
    path = write(tmp_path, MINIMAL + f"evaluation: {{suites: [{suite}]}}\n")
    (found,) = load_experiment(path).evaluation.suites
    assert found.choices == ("no", "yes")


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match="there is no such file"):
        load_experiment(tmp_path / "none.yaml")
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PedigreeError, match="can't be read"):
        load_experiment(path)
    with pytest.raises(PedigreeError, match=r"no experiment 'tinny'; known: .*tiny"):
        experiment_file("tinny")


def test_a_field_added_later_stays_out_of_identities_while_it_means_as_before() -> None:
    class Old(Spec):
        width: int = 1

    class New(Spec):
        width: int = 1
        window: int | None = later(default=512, absent=None)

    assert canonical(New(window=None)) == canonical(Old())
    assert canonical(New()) == {"width": 1, "window": 512}


def test_paths_stay_out_of_identities(tmp_path: Path) -> None:
    text = MINIMAL + "raw: {sources: [{kind: files, paths: ['*.txt']}]}\n"
    assert "paths" not in str(canonical(load_experiment(write(tmp_path, text))))


def test_what_a_section_derives_counts_by_value(tmp_path: Path) -> None:
    plain = canonical(load_experiment(write(tmp_path, MINIMAL)))
    training, layers = plain["training"], plain["model"]["layers"]
    assert (training["steps"], training["batch_size"], layers[0]["mixer"]["head_dim"]) == (97, 4, 16)
