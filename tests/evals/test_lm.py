"""The model behind lm-eval's interface, against direct computation with the same weights."""

import json
import math
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from llm_core.errors import PedigreeError
from llm_core.evals.lm import PedigreeLM
from llm_core.evals.run import as_trained, device_of
from llm_core.evals.tasks import continuation_task, heldout_task, score_question
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.files import load_model
from tests.evals.conftest import SPEC, World, text

WINDOW = 16


def adapter(
    world: World, batch_size: int = 3, workers: int = 2, spec: ModelSpec | None = None, precision: str = "fp32"
) -> PedigreeLM:
    model, _ = load_model(world.folder / "model")
    if spec is not None:
        other = build_model(spec, world.tokenizer.get_vocab_size())
        other.load_state_dict(model.state_dict())
        model = other
    return PedigreeLM(model, world.tokenizer, world.eot, WINDOW, batch_size, workers, lambda *_: None, precision)


def nats(model: torch.nn.Module, inputs: list[int], targets: list[int], ids: list[int] | None = None) -> float:
    """Summed log-probability of ``targets`` as the last predictions after ``inputs``, one row at a time."""
    documents = None if ids is None else torch.tensor([ids])
    with torch.inference_mode():
        logits = model(torch.tensor([inputs]), document_ids_BT=documents)[0, -len(targets) :]
    return float(logits.double().log_softmax(-1)[range(len(targets)), targets].sum())


def requests(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=pair, idx=i) for i, pair in enumerate(arguments)]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_loglikelihood_equals_direct_computation(world: World, batch_size: int) -> None:
    lm = adapter(world, batch_size)
    pairs = [
        ("the list", " of values"),
        ("x", " and a file"),
        ("", "returns"),
        ("when that object is raised", " for λ"),
    ]
    for (context, continuation), (value, greedy) in zip(
        pairs, lm.loglikelihood(requests("loglikelihood", pairs)), strict=True
    ):
        before = world.tokenizer.encode(context).ids or [world.eot]
        after = world.tokenizer.encode(continuation).ids
        assert len(before) + len(after) <= WINDOW
        assert value == pytest.approx(nats(lm.model, (before + after)[:-1], after), abs=1e-4)
        with torch.inference_mode():
            best = lm.model(torch.tensor([(before + after)[:-1]]))[0, -len(after) :].argmax(-1).tolist()
        assert greedy == (best == after)


def test_it_runs_in_the_precision_that_it_is_given(world: World) -> None:
    """In the threads that score and write, too; and the results are those of fp32, up to bf16's rounding."""
    pairs = [("the list", " of values"), ("x", " and a file")]
    options = {"until": ["\n"], "max_gen_toks": 3}
    values = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        lm = adapter(world, precision=precision)
        seen = set()
        lm.model.register_forward_hook(lambda _module, _inputs, logits, seen=seen: seen.add(logits.dtype))
        values[precision] = [value for value, _ in lm.loglikelihood(requests("loglikelihood", pairs))]
        lm.generate_until(requests("generate_until", [("the list", options)]))
        assert seen == {dtype}
    assert values["bf16"] == pytest.approx(values["fp32"], rel=0.01)
    assert values["bf16"] != values["fp32"]


@pytest.mark.parametrize(
    ("trained", "device", "evaluated"),
    [
        (("bf16", "flex"), "cuda", ("bf16", "flex")),
        (("fp32", "auto"), "cuda", ("fp32", "auto")),
        (("fp8", "sdpa"), "cuda", ("bf16", "sdpa")),
        (("bf16", "varlen"), "cuda", ("bf16", "sdpa")),
        (("bf16", "flex"), "cpu", ("fp32", "auto")),
    ],
)
def test_evaluation_is_as_the_training_was(trained: tuple, device: str, evaluated: tuple) -> None:
    assert as_trained(*trained, device) == evaluated


def test_evaluation_uses_the_gpu_that_the_training_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, devices in ((True, ["cuda", "cuda", "cpu", "cpu"]), (False, ["cpu"] * 4)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert [device_of(name) for name in ("auto", "cuda", "cpu", "mps")] == devices


def test_long_context_loses_its_beginning(world: World) -> None:
    lm = adapter(world)
    context, continuation = text(3, 40), " returns the value"
    ((value, _),) = lm.loglikelihood(requests("loglikelihood", [(context, continuation)]))
    after = world.tokenizer.encode(continuation).ids
    whole = world.tokenizer.encode(context + continuation).ids[-(WINDOW + 1) :]
    assert value == pytest.approx(nats(lm.model, whole[:-1], after), abs=1e-4)


@pytest.mark.parametrize("words", [1, 5, 30, 61])
def test_rolling_predicts_every_token_once(world: World, words: int) -> None:
    lm = adapter(world)
    seen: list[int] = []
    score = lm._loglikelihood_tokens

    def spy(windows, **options):
        seen.extend(token for _, _, continuation in windows for token in continuation)
        assert all(len(context) + len(continuation) <= WINDOW + 1 for _, context, continuation in windows)
        return score(windows, **options)

    lm._loglikelihood_tokens = spy
    document = text(5, words)
    (value,) = lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(document,)]))
    ids = world.tokenizer.encode(document).ids
    assert seen == ids

    # Directly: windows of WINDOW predictions, the last one moved back so that it is as long as the others.
    expected = nats(lm.model, [world.eot, *ids[: WINDOW - 1]][: len(ids)], ids[:WINDOW])
    for start in range(WINDOW, len(ids), WINDOW):
        stop = min(start + WINDOW, len(ids))
        expected += nats(lm.model, ids[stop - WINDOW - 1 : stop - 1], ids[start:stop])
    assert value == pytest.approx(expected, rel=1e-5)


def test_end_of_text_begins_the_document_after(world: World) -> None:
    lm = adapter(world, spec=SPEC.model_copy(update={"document_mask": True}))
    ids = world.tokenizer.encode("the list of values").ids
    (value,) = lm.loglikelihood_rolling(requests("loglikelihood_rolling", [("the list of values",)]))
    inputs = [world.eot, *ids[:-1]]
    assert value == pytest.approx(nats(lm.model, inputs, ids, [1] * len(ids)), abs=1e-4)
    assert abs(value - nats(lm.model, inputs, ids, [0] + [1] * len(ids[:-1]))) > 1e-2


def test_special_tokens_in_text_are_text(world: World) -> None:
    assert world.eot not in adapter(world).tok_encode("a <|endoftext|> b")


def test_tasks_give_the_figures_of_direct_computation(world: World, tmp_path: Path) -> None:
    lm = adapter(world)
    # Digits, Jinja and escapes in the text: lm-eval must take them literally.
    documents = [text(8, 30), "1234", "{{ 7 * 7 }} \\n {% raw", "the λ list"]
    question = {"context": "the list", "choices": [" of values", " 42", " {{ x }}", " and a"], "gold": 2}
    rows = [json.dumps({"doc_id": str(i), "text": t}) + "\n" for i, t in enumerate(documents)]
    (tmp_path / "d.jsonl").write_text("".join(rows))
    (tmp_path / "q.jsonl").write_text(json.dumps(question) + "\n")
    tasks = TaskManager(include_defaults=False).load(
        [heldout_task(tmp_path / "d.jsonl"), continuation_task(tmp_path / "q.jsonl")]
    )
    samples = evaluate(lm=lm, task_dict=tasks, bootstrap_iters=0, log_samples=True)["samples"]

    direct = lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(t,) for t in documents]))
    assert [row["bits"] for row in samples["heldout"]] == pytest.approx([-value / math.log(2) for value in direct])
    (answer,) = samples["continuation"]
    context, *after = (world.tokenizer.encode(t).ids for t in (question["context"], *question["choices"]))
    costs = [-nats(lm.model, (context + choice)[:-1], choice) / math.log(2) for choice in after]
    assert answer["bits"] == pytest.approx(costs[2], abs=1e-4)
    per_byte = [cost / len(choice.encode()) for cost, choice in zip(costs, question["choices"], strict=True)]
    assert answer["correct_likelihood"] == float(per_byte.index(min(per_byte)) == 2)
    alone = [-nats(lm.model, [world.eot, *choice[:-1]], choice) / math.log(2) for choice in after]
    gains = [before - cost for before, cost in zip(alone, costs, strict=True)]
    assert answer["acc_mutual_info"] == float(gains.index(max(gains)) == 2)


def test_the_pick_by_gain_is_what_the_context_helps_and_not_what_is_common() -> None:
    row = {"choices": [" common", " fitting"], "gold": 1}
    after, alone = [(-5.0, False), (-9.0, False)], [(-5.5, False), (-20.0, False)]
    score = score_question(row, after + alone)
    assert (score["acc_mutual_info"], score["correct_likelihood"]) == (1.0, 0.0)
    assert score["bits"] == pytest.approx(9.0 / math.log(2))
    assert score_question(row, after + after)["acc_mutual_info"] == 0.0


def test_workers_change_nothing(world: World) -> None:
    pairs = [("the list of", " value" * (1 + i % 7)) for i in range(23)]
    one, many = (adapter(world, 4, workers).loglikelihood(requests("loglikelihood", pairs)) for workers in (1, 5))
    assert one == many


def greedy(lm: PedigreeLM, ids: list[int], new: int) -> list[int]:
    line = list(ids)
    with torch.inference_mode():
        while len(line) < len(ids) + new and (token := int(lm.model(torch.tensor([line]))[0, -1].argmax())) != lm._eot:
            line.append(token)
    return line[len(ids) :]


def test_continuations_end_where_the_task_says(world: World) -> None:
    lm, contexts = adapter(world), ["the list", "x", text(4, 30), ""]
    decode, encode = world.tokenizer.decode, world.tokenizer.encode
    free = [decode(greedy(lm, encode(c).ids[-(WINDOW - 9) :] or [world.eot], 9)) for c in contexts]
    ends = [line[len(line) // 2 :][:2] for line in free]
    pairs = [(context, {"until": [], "max_gen_toks": 9}) for context in contexts]
    pairs += [
        (context, {"until": ["never", end], "max_gen_toks": 9}) for context, end in zip(contexts, ends, strict=True)
    ]
    pairs += [(context, {"until": end, "max_gen_toks": 9}) for context, end in zip(contexts, ends, strict=True)]
    found = lm.generate_until(requests("generate_until", pairs))
    cut = [line[: line.index(end)] for line, end in zip(free, ends, strict=True)]
    assert found == [*free, *cut, *cut]


def test_a_generating_task_runs(world: World, tmp_path: Path) -> None:
    lm = adapter(world)
    answer = world.tokenizer.decode(greedy(lm, world.tokenizer.encode("the list").ids, 6))
    rows = [{"question": "the list", "answer": answer}, {"question": "the list", "answer": "no"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "made",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }
    tasks = TaskManager(include_defaults=False).load([task])
    results = evaluate(lm=lm, task_dict=tasks, bootstrap_iters=0)["results"]["made"]
    assert results["exact_match,none"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": ["."]}, "max_gen_toks"),
        ({"until": ["."], "max_gen_toks": 4, "temperature": 0.7}, "asks for sampling"),
        ({"until": ["."], "max_gen_toks": 4, "do_sample": True}, "asks for sampling"),
        ({"until": [".", ""], "max_gen_toks": 4}, "ends its answers at an empty string"),
        ({"until": ["."], "max_gen_toks": 0}, "max_gen_toks is 0; it must be a whole number from 1 on"),
        ({"until": ["."], "max_gen_toks": WINDOW}, "16 new tokens, but the model reads 16"),
    ],
)
def test_continuations_that_cannot_be_are_refused(world: World, options: dict, message: str) -> None:
    with pytest.raises(PedigreeError, match=message):
        adapter(world).generate_until(requests("generate_until", [("the list", options)]))


def test_a_continuation_beyond_the_window_is_read_in_several(world: World) -> None:
    lm, context, answer = adapter(world), "the list of", f" {text(1, 30)}"
    first = world.tokenizer.encode(context).ids
    ids = first + world.tokenizer.encode(answer).ids
    assert len(ids) - len(first) > 2 * WINDOW
    expected = 0.0
    for start in range(len(first), len(ids), WINDOW):
        stop = min(start + WINDOW, len(ids))
        expected += nats(lm.model, ids[max(0, stop - 1 - WINDOW) : stop - 1], ids[start:stop])
    pairs = [(context, answer), (context, " value"), ("", text(2, 3))]
    (found, greedy), *others = lm.loglikelihood(requests("loglikelihood", pairs))
    assert found == pytest.approx(expected, abs=1e-4)
    assert not greedy
    alone = [lm.loglikelihood(requests("loglikelihood", [pair]))[0][0] for pair in pairs[1:]]
    assert [value for value, _ in others] == pytest.approx(alone, abs=1e-4)
