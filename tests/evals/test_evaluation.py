"""The whole stage, in its real process, on a model with random weights."""

import json
import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from llm_core.chat.model_chat import model_chat
from llm_core.data.suites import Item, read_suite
from llm_core.errors import PedigreeError
from llm_core.evals.baselines import overlap_pick
from llm_core.evals.evaluation import _readable, build, source_digests
from llm_core.evals.generated import ROUGE, score_exact, score_rouge
from llm_core.evals.instructions import kept
from llm_core.evals.scores import INSTRUCTION_LEVEL, PROMPT_LEVEL
from llm_core.experiment.cleaning import TextForm
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.suites import PerplexitySuite
from llm_core.graph.job import Job, Runtime
from llm_core.model.files import load_model
from llm_core.model.positions.rope.spec import Rope
from llm_core.study.suites import BITS, rows_of
from llm_core.tokens.prompt_form import normaliser
from llm_core.tokens.steps import as_normalizer
from tests.evals.conftest import SPEC, World
from tests.evals.suites import generative, in_chat, suites
from tests.judged import judged


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSpec:
    folder = tmp_path_factory.mktemp("suites")
    return EvaluationSpec(
        heldout_documents=12,
        choice_questions=20,
        context_characters=100,
        continuation_characters=40,
        batch_size=4,
        suites=(*suites(folder), *generative(folder), *in_chat(folder)),
    )


@pytest.fixture(scope="module")
def made(world: World, evaluation: EvaluationSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, dict]:
    job = world.job(tmp_path_factory.mktemp("eval") / "work")
    job = replace(job, runtime=Runtime(ComputeSpec(device_type="cuda")))  # without a GPU, it runs on the CPU
    return job, build(job, evaluation, SPEC, sequence_length=32, precision="bf16", seed=5).model_dump()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_process_is_told_how_the_model_was_trained(made: tuple[Job, dict]) -> None:
    job, _ = made
    told, report = (json.loads(path.read_bytes()) for path in (job.work / "spec.json", job.out / "lm_eval.json"))
    assert (told["precision"], told["attention_backend"]) == ("bf16", job.runtime.compute.attention_backend)
    assert told["device_type"] == "cuda"
    assert report["precision"] == ("fp32" if report["device"] == "cpu" else "bf16")


def test_rows_and_statistics(made: tuple[Job, dict]) -> None:
    job, stats = made
    rows = {(row["task"], row["metric"]): row for row in lines(job.out / "evals.jsonl")}
    assert list(rows) == [
        ("heldout", "bits_per_byte"),
        ("baseline_unigram", "bits_per_byte"),
        ("baseline_xz", "bits_per_byte"),
        ("continuation", "accuracy"),
        ("continuation", "accuracy_likelihood"),
        ("continuation", "bits_per_byte"),
        ("baseline_overlap", "accuracy"),
        ("pairs", "accuracy"),
        ("pairs", "bits_per_byte"),
        ("quiz", "accuracy"),
        ("quiz", "accuracy_per_byte"),
        ("quiz", "accuracy_per_token"),
        ("quiz", "bits_per_byte"),
        ("words", "accuracy"),
        ("words", "bits_per_byte"),
        ("texts", "bits_per_byte"),
        ("answers", "accuracy"),
        ("answers", "bits_per_byte"),
        *(("summaries", metric) for metric in (*ROUGE, "bits_per_byte")),
        ("talks", "accuracy"),
        ("talks", "bits_per_byte"),
        *(("follow", metric) for metric in (*PROMPT_LEVEL, *INSTRUCTION_LEVEL)),
    ]
    fields = ["task", "metric", "value", "stderr", "low", "high", "n", "chance"]
    assert all(list(row) == fields for row in rows.values())
    assert rows["heldout", "bits_per_byte"]["value"] == stats["bits_per_byte"] > 0
    assert rows["heldout", "bits_per_byte"]["stderr"] > 0
    assert rows["baseline_xz", "bits_per_byte"]["stderr"] is None
    low, high = stats["bits_per_byte_interval"]
    assert rows["heldout", "bits_per_byte"]["low"] == low < stats["bits_per_byte"] < high
    quiz = {"accuracy", "accuracy_per_byte", "accuracy_per_token", "bits_per_byte"}
    assert stats["suites"]["quiz"]["intervals"].keys() == quiz
    assert {rows["quiz", metric]["chance"] for metric in quiz - {BITS}} == {0.3}
    assert {rows[key]["chance"] for key in list(rows)[:7] if key[1].startswith("accuracy")} == {0.25}
    questions = lines(job.out / "questions.jsonl")
    picks = [overlap_pick(question["context"], question["choices"]) == question["gold"] for question in questions]
    assert stats["overlap_accuracy"] == rows["baseline_overlap", "accuracy"]["value"] == sum(picks) / 20
    assert (stats["documents"], stats["questions"], stats["documents_restored"]) == (12, 20, 12)
    assert (job.out / "lm_eval.json").is_file()
    assert len(lines(job.out / "questions.jsonl")) == 20


def test_a_study_reads_the_gold_answers_of_every_suite(made: tuple[Job, dict]) -> None:
    rows = rows_of(made[0].out)
    assert {task for task, metric in rows if metric == BITS} == {
        *("continuation", "pairs", "quiz", "words", "texts", "answers", "summaries", "talks")
    }
    assert all(rows[task, BITS]["low"] < rows[task, BITS]["value"] for task in ("continuation", "pairs", "quiz"))


def test_written_answers_are_kept_and_scored(made: tuple[Job, dict], world: World) -> None:
    """Greedy decoding without a cache and without batches writes the same."""
    job, stats = made
    model, _ = load_model(world.folder / "model")
    items = [line for line in lines(job.out / "scores.jsonl") if line["task"] in ("answers", "summaries")]
    for line in items:
        rows = lines(job.work / f"suite_{line['task']}.jsonl")
        row, new = rows[int(line["item_id"]) - 1], 6 if line["task"] == "answers" else 8
        ids = world.tokenizer.encode(row["context"]).ids[-(32 - new) :]
        made_ids: list[int] = []
        stops = ("\n",) if line["task"] == "answers" else ("\n\n", ".")
        while len(made_ids) < new:
            with torch.no_grad():
                token = int(model(torch.tensor([ids + made_ids]))[0, -1].argmax())
            if token == world.eot:
                break
            made_ids.append(token)
        text = world.tokenizer.decode(made_ids, skip_special_tokens=False)
        expected = text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
        assert line["generated"] == expected
        assert (line["choices"], line["bits"] > 0) == (1, True)
        if line["task"] == "answers":
            assert line["correct"] == score_exact(row, [line["generated"]])["right"]
        else:
            assert line["rouge_l"] == pytest.approx(score_rouge(row, [line["generated"]])["rouge_l"], abs=1e-6)
    assert len(items) == 7
    assert stats["centred"]["tasks"] == ["pairs", "quiz", "words", "answers", "talks"]
    assert stats["centred"]["low"] < stats["centred"]["value"] < stats["centred"]["high"]
    assert stats["suites"]["summaries"]["intervals"].keys() == {*ROUGE, "bits_per_byte"}


def test_in_the_chat_template_the_model_reads_one_conversation(made: tuple[Job, dict], world: World) -> None:
    """Its turns end with end-of-text tokens, after which it must still see those before."""
    job, stats = made
    model, _ = load_model(world.folder / "model")
    chat = model_chat(world.folder / "model", world.folder / "tokenizer" / "tokenizer.json")
    items = {
        name: [line for line in lines(job.out / "scores.jsonl") if line["task"] == name] for name in ("talks", "follow")
    }
    for name, new, room in (("talks", 4, 28), ("follow", 5, 27)):
        rows = lines(job.work / f"suite_{name}.jsonl")
        for row, line in zip(rows, items[name], strict=True):
            prompt = chat.prompt([{"role": "user", "content": row["context"]}])
            assert (row["prompt_ids"], row["stop_ids"], row["delimiter"]) == (prompt, [world.eot], "")
            ids, written = prompt[-room:], []
            while len(written) < new:
                with torch.no_grad():
                    written.append(int(model(torch.tensor([ids + written]))[0, -1].argmax()))
            text = world.tokenizer.decode(written, skip_special_tokens=False).partition("<|endoftext|>")[0]
            assert line["generated"] == (text.partition("\n")[0] if name == "talks" else text)
            if name == "talks":
                answer = world.tokenizer.encode(row["choices"][0]).ids
                whole = (prompt + answer)[-33:]
                with torch.no_grad():
                    logits = model(torch.tensor([whole[:-1]]))[0, -len(answer) :].double().log_softmax(-1)
                bits = -float(logits[range(len(answer)), answer].sum()) / math.log(2)
                assert line["bits"] == pytest.approx(bits, rel=1e-4)
                assert line["bytes"] == len(row["choices"][0].encode())
    for item, line in zip(read_suite(next(iter(in_chat(job.work)[1:]))), items["follow"], strict=True):
        strict, loose = kept(line["generated"], item.rules)
        assert [(rule["strict"], rule["loose"]) for rule in line["rules"]] == list(zip(strict, loose, strict=True))
        assert line["prompt_level_strict"] == all(strict)
    told = stats["suites"]["follow"]
    assert told["chat_prompts_cut"] in range(3)
    assert set(told["accuracy_by_group"]) == {"punctuation:no_comma", "length_constraints:number_words"}


def test_all_figures_are_over_the_same_bytes(made: tuple[Job, dict], world: World) -> None:
    job, stats = made
    scores = [score for score in lines(job.out / "scores.jsonl") if score["task"] == "heldout"]
    texts = dict(pl.read_parquet(world.folder / "documents" / "heldout").select("doc_id", "text").iter_rows())
    assert len(scores) == 12
    assert [score["bytes"] for score in scores] == [len(texts[score["item_id"]].encode()) for score in scores]
    total = sum(score["bytes"] for score in scores)
    assert total == stats["heldout_bytes"]
    assert stats["bits_per_byte"] == round(sum(score["bits"] for score in scores) / total, 6)

    # One document in full, by hand: end-of-text before it, windows of 32 predictions.
    model, _ = load_model(world.folder / "model")
    score = min(scores, key=lambda item: item["bytes"])
    ids, bits = world.tokenizer.encode(texts[score["item_id"]]).ids, 0.0
    for start in range(0, len(ids), 32):
        stop = min(start + 32, len(ids))
        inputs = [world.eot, *ids][max(0, stop - 32) : stop]
        with torch.inference_mode():
            logits = model(torch.tensor([inputs]))[0, start - stop :].double().log_softmax(-1)
        bits -= float(logits[range(stop - start), ids[start:stop]].sum()) / math.log(2)
    assert score["bits"] == pytest.approx(bits, rel=1e-5)


def test_the_same_again_byte_for_byte(
    made: tuple[Job, dict], world: World, evaluation: EvaluationSpec, tmp_path: Path
) -> None:
    job, stats = made
    again = world.job(tmp_path / "work")
    assert build(again, evaluation, SPEC, sequence_length=32, precision="bf16", seed=5).model_dump() == stats
    for name in ("evals.jsonl", "questions.jsonl", "scores.jsonl"):
        assert (again.out / name).read_bytes() == (job.out / name).read_bytes()


def test_suites_are_scored_item_by_item(made: tuple[Job, dict], world: World, evaluation: EvaluationSpec) -> None:
    job, stats = made
    scores = [score for score in lines(job.out / "scores.jsonl") if score["task"] == "pairs"]
    model, _ = load_model(world.folder / "model")

    def nats(text: str) -> float:
        ids = world.tokenizer.encode(text).ids
        with torch.inference_mode():
            logits = model(torch.tensor([[world.eot, *ids[:-1]]]))[0].double().log_softmax(-1)
        return float(logits[range(len(ids)), ids].sum())

    items = read_suite(evaluation.suites[0])
    assert [(score["item_id"], score["cluster"]) for score in scores] == [(item.item_id, item.group) for item in items]
    right = [int(nats(item.choices[0]) > nats(item.choices[1])) for item in items]
    assert [score["correct"] for score in scores] == right
    assert scores[2]["choice_bits"] == pytest.approx([-nats(text) / math.log(2) for text in items[2].choices], rel=1e-5)
    assert 0 < sum(right) < len(right)
    assert stats["suites"]["pairs"]["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)
    by_group = stats["suites"]["pairs"]["accuracy_by_group"]
    assert by_group["even"] == pytest.approx(sum(right[::2]) / len(right[::2]), abs=1e-6)
    low, high = stats["suites"]["pairs"]["intervals_by_group"]["even"]
    assert low < by_group["even"] < high
    assert stats["suites"]["quiz"]["items"] == 7

    row = next(row for row in lines(job.out / "evals.jsonl") if row["task"] == "texts")
    (text,) = read_suite(evaluation.suites[3])[0].choices
    assert row["n"] == 2
    bits = [score["bits"] for score in lines(job.out / "scores.jsonl") if score["task"] == "texts"]
    assert row["value"] == pytest.approx(sum(bits) / (2 * len(text.encode())), abs=1e-6)


def test_source_digests_name_the_suites(evaluation: EvaluationSpec) -> None:
    found = source_digests(evaluation=evaluation, model=SPEC, sequence_length=32, precision="bf16", seed=5)
    assert list(found) == [
        f"suite {name}" for name in ("pairs", "quiz", "words", "texts", "answers", "summaries", "talks", "follow")
    ]


def test_checks_judge() -> None:
    stats = {
        "bits_per_byte": 1.5, "unigram_bits_per_byte": 3.0, "accuracy": 0.6,
        "accuracy_stderr": 0.03, "overlap_accuracy": 0.5, "chance": 0.25, "documents": 100,
        "documents_asked": 100, "documents_restored": 100, "questions": 200, "questions_asked": 200,
    }  # fmt: skip

    def failed(**changes) -> list[str]:
        return [
            check.name for check in judged("eval_results", {**stats, **changes}, chance_margin=0.1) if not check.passed
        ]

    assert failed() == []
    assert failed(bits_per_byte=3.0) == ["below_unigram"]
    assert failed(accuracy=0.34) == ["above_chance"]
    assert failed(accuracy=0.36) == []
    assert failed(accuracy=0.36, accuracy_stderr=0.06) == ["above_chance"]
    assert failed(accuracy=0.6, accuracy_stderr=None, questions=4, questions_asked=4) == ["above_chance"]
    assert failed(documents_restored=99) == ["text_restored"]
    assert failed(questions=150) == ["enough_items"]
    assert failed(suites={"quiz": {"items_unreadable": 2}, "pairs": {"items_unreadable": 0}}) == ["suites_readable"]


def test_items_of_which_the_form_leaves_no_choice_are_left_out() -> None:
    suite = PerplexitySuite(name="sums", path="sums.jsonl")
    items = [Item(str(line), "", "", choices, 0) for line, choices in enumerate([("17", "the river"), ("a", "b 4")])]
    letters = as_normalizer([normaliser(TextForm(keep=("letters",)))])
    assert _readable([(suite, items)], letters) == [(suite, items[1:])]
    assert _readable([(suite, items)], None) == [(suite, items)]
    with pytest.raises(PedigreeError, match=r"sums\.jsonl: .* leaves nothing of a choice in any item of 'sums'"):
        _readable([(suite, items[:1])], letters)


def test_another_model_than_described_is_refused(world: World, evaluation: EvaluationSpec, tmp_path: Path) -> None:
    other = SPEC.model_copy(update={"mixer": SPEC.mixer.model_copy(update={"position": Rope(theta=5e5)})})
    with pytest.raises(PedigreeError, match="not the model that the experiment describes"):
        build(world.job(tmp_path / "work"), evaluation, other, 32, "fp32", 5)
