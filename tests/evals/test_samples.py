import json
from pathlib import Path

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.evals.samples import SAMPLES, build, generation_seed, prompt_ids
from llm_core.experiment.evaluation import SamplingSpec
from llm_core.graph.job import Job
from llm_core.model.build import build_model
from llm_core.model.files import load_model, save_model
from llm_core.model.positions.absolute.spec import Learned
from llm_core.model.positions.nope.spec import Nope
from llm_core.store.manifest import Artifact
from tests.evals.conftest import EOT, SPEC, World, manifest
from tests.judged import judged

SAMPLING = SamplingSpec(prompts=("the list", "raised λ"), temperatures=(0.0, 0.7, 1.5), max_new_tokens=12)


@pytest.fixture(scope="module")
def made(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, dict]:
    job = world.job(tmp_path_factory.mktemp("samples") / "work")
    return job, build(job, SAMPLING, SPEC, seed=5).model_dump()


def rows(job: Job) -> list[dict]:
    return [json.loads(line) for line in (job.out / SAMPLES).read_text(encoding="utf-8").splitlines()]


def test_one_row_for_every_prompt_and_temperature(made: tuple[Job, dict]) -> None:
    job, stats = made
    found = rows(job)
    assert all(list(row) == ["prompt", "temperature", "text", "tokens", "seed"] for row in found)
    pairs = [(prompt, temperature) for prompt in SAMPLING.prompts for temperature in SAMPLING.temperatures]
    assert [(row["prompt"], row["temperature"]) for row in found] == pairs
    assert all(0 <= row["tokens"] <= 12 for row in found)
    assert stats["samples"] == stats["expected"] == 6
    assert stats["tokens"] == sum(row["tokens"] for row in found)
    assert set(stats["temperatures"]) == {"0", "0.7", "1.5"}
    shares = [figures["distinct_token_share"] for figures in stats["temperatures"].values()]
    assert all(0 < share <= 1 for share in shares)


def test_greedy_text_is_what_the_model_finds_likeliest(made: tuple[Job, dict], world: World) -> None:
    model, _ = load_model(world.folder / "model")
    ids = [world.eot, *world.tokenizer.encode("the list").ids]
    new: list[int] = []
    with torch.inference_mode():
        while len(new) < 12 and (token := int(model(torch.tensor([ids + new]))[0, -1].argmax())) != world.eot:
            new.append(token)
    row = rows(made[0])[0]
    assert (row["text"], row["tokens"]) == (world.tokenizer.decode(new), len(new))


def test_same_bytes_whatever_the_threads(made: tuple[Job, dict], world: World, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.manual_seed(99)
    torch.set_num_threads(2)
    try:
        again = world.job(tmp_path / "work")
        build(again, SAMPLING, SPEC, seed=5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert (again.out / SAMPLES).read_bytes() == (made[0].out / SAMPLES).read_bytes()


def test_another_seed_gives_other_text(made: tuple[Job, dict], world: World, tmp_path: Path) -> None:
    other = world.job(tmp_path / "work")
    build(other, SAMPLING, SPEC, seed=6)
    texts = [[row["text"] for row in rows(job)] for job in (made[0], other)]
    assert texts[0][0] == texts[1][0], "greedy"
    assert texts[0] != texts[1]


def test_a_prompt_more_leaves_the_others_as_they_are(made: tuple[Job, dict], world: World, tmp_path: Path) -> None:
    more = world.job(tmp_path / "work")
    build(more, SAMPLING.model_copy(update={"prompts": ("value", *SAMPLING.prompts)}), SPEC, seed=5)
    assert rows(more)[3:] == rows(made[0])


def test_seeds_differ_and_stay() -> None:
    seeds = {generation_seed(s, p, t) for s in (1, 2) for p in ("a", "b") for t in (0.3, 0.7)}
    assert len(seeds) == 8
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert generation_seed(1, "a", 1) == generation_seed(1, "a", 1.0)


def test_prompts_begin_a_document_and_hold_no_special_token(world: World) -> None:
    assert prompt_ids(world.tokenizer, "", world.eot) == [world.eot]
    first, *text = prompt_ids(world.tokenizer, f"the {EOT}", world.eot)
    assert first == world.eot
    assert text
    assert world.eot not in text


def test_another_model_than_described_is_refused(world: World, tmp_path: Path) -> None:
    other = SPEC.model_copy(update={"mixer": SPEC.mixer.model_copy(update={"qk_norm": True})})
    with pytest.raises(PedigreeError, match="another model"):
        build(world.job(tmp_path / "work"), SAMPLING, other, seed=5)


def test_ids_that_the_model_does_not_know_are_refused(world: World, tmp_path: Path) -> None:
    """An imported vocabulary has gaps: its highest id counts, and not the number of its entries."""
    content = json.loads((world.folder / "tokenizer" / "tokenizer.json").read_text())
    last = max(content["model"]["vocab"], key=content["model"]["vocab"].get)
    content["model"]["vocab"][last] += 7
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    job = world.job(tmp_path / "work")
    job.inputs["tokenizer"] = Artifact(tmp_path, manifest("tokenizer"))
    with pytest.raises(PedigreeError, match="has 327 ids, but the model has 320"):
        build(job, SAMPLING, SPEC, seed=5)


def test_checks(made: tuple[Job, dict]) -> None:
    stats = made[1]
    assert all(check.passed for check in judged("generation_samples", stats) if check.name != "none_empty")

    def failed(**changes: int) -> list[str]:
        return [
            check.name for check in judged("generation_samples", {**stats, "empty": 0, **changes}) if not check.passed
        ]

    assert failed() == []
    assert failed(samples=5) == ["all_generated"]
    assert failed(tokens=0, empty=6) == ["some_text", "none_empty"]
    assert failed(empty=1) == ["none_empty"]


def test_a_prompt_that_leaves_no_positions_is_refused(world: World, tmp_path: Path) -> None:
    mixer = SPEC.mixer.model_copy(update={"position": Nope()})
    spec = SPEC.model_copy(update={"mixer": mixer, "absolute_position": Learned(max_positions=16)})
    job = world.job(tmp_path / "work")
    network = build_model(spec, world.tokenizer.get_vocab_size())
    save_model(network, spec, world.tokenizer.get_vocab_size(), tmp_path / "model")
    job.inputs["model"] = Artifact(tmp_path / "model", manifest("model"))
    sampling = SamplingSpec(prompts=("the list of values",), max_new_tokens=15)
    with pytest.raises(
        PedigreeError, match=r"prompt 'the list of values' .* can read 16: set sampling.max_new_tokens \d lower"
    ):
        build(job, sampling, spec, seed=5)
