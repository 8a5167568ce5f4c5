"""The stage, with a model of random weights and with planted answers."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.suites import MultipleChoiceSuite
from llm_core.experiment.test_time import ReasoningSpec, RepeatedSamplingSpec, check_repeated_sampling
from llm_core.model.files import load_model
from llm_core.test_time import evaluation
from llm_core.test_time.answers import Answer, Answerer
from llm_core.test_time.evaluation import ANSWERS, build, most_answered
from llm_core.test_time.questions import Question, of_suite
from llm_core.test_time.ways import Ways
from llm_core.tokens.prompts import prompt_tokenizer
from tests.data.stages import artifact
from tests.evals.conftest import World
from tests.evals.conftest import world as world
from tests.retrieval.conftest import World as Indexed
from tests.retrieval.conftest import world as indexed  # noqa: F401

SPEC = RepeatedSamplingSpec(heldout_words=4, context_characters=40, samples=4, max_new_tokens=5)


def made(world: World, work: Path, spec: RepeatedSamplingSpec = SPEC, index: Path | None = None, **changes):
    job = world.job(work)
    if index is not None:
        job.inputs["index"] = artifact(index)
    options = {"suites": (), "few_shot": {}, "sequence_length": 200, "passages": 1, "seed": 1, **changes}
    results = build(job, spec, **options)
    return results, [json.loads(line) for line in (job.out / ANSWERS).read_text().splitlines()]


@pytest.fixture
def planted(monkeypatch):
    """The plain samples are right two times of four, the greedy answer is wrong, and with passages all are right."""

    def answers(self, name, prompt, max_new_tokens, ended):
        right = "yes" if "retrieved" in name else "no"
        texts = [right, " yes.", "Yes and", "no", "so"] if right == "no" else ["yes"] * 5
        return [Answer(text, [5, 6], [-1.0 - (text == "so")]) for text in texts]

    monkeypatch.setattr(Answerer, "answers", answers)
    monkeypatch.setattr(
        evaluation,
        "next_words",
        lambda *_: [Question("heldout_words", str(n), str(n), "Is it?", "Is it?", "yes", False) for n in range(5)],
    )


def test_the_majority_beats_the_greedy_answer_where_it_is_right_more_often(world, planted, indexed, tmp_path) -> None:  # noqa: F811
    found: Indexed = indexed
    results, lines = made(world, tmp_path, index=found.searcher.folder)
    plain, retrieved = results.ways
    assert (plain["greedy"]["accuracy"], retrieved["greedy"]["accuracy"]) == (0.0, 1.0)
    assert [(point["k"], round(point["accuracy"], 4)) for point in plain["curves"]["majority"]] == [
        (1, 0.5),
        (2, 0.5),
        (4, 1.0),
    ]
    assert plain["curves"]["any"][1]["accuracy"] == pytest.approx(5 / 6)
    assert plain["curves"]["majority"][-1]["gain"] == 1.0
    assert retrieved["greedy"]["gain"] == 1.0
    assert (plain["sample_tokens"], plain["greedy_tokens"]) == (2.0, 2.0)
    assert results.questions == {"heldout_words": 5}
    assert lines[0]["answers"][1] == {"text": " yes.", "given": "yes", "tokens": 2, "nats": -1.0}
    assert most_answered(results, None).passed


def test_the_same_seed_gives_the_same_answers_and_more_samples_keep_them(world, tmp_path) -> None:
    first, lines = made(world, tmp_path / "a")
    again, repeated = made(world, tmp_path / "b")
    _, longer = made(world, tmp_path / "c", SPEC.model_copy(update={"samples": 6}))
    assert (first, lines) == (again, repeated)
    texts = [[answer["text"] for answer in line["answers"]] for line in lines]
    assert texts == [[answer["text"] for answer in line["answers"][:5]] for line in longer]
    assert len({answer["text"] for line in lines for answer in line["answers"]}) > 4
    _, others = made(world, tmp_path / "d", seed=2)
    assert lines != others


def test_likelihoods_are_those_of_the_whole_text(world) -> None:
    model, _ = load_model(world.folder / "model")
    tokenizer = prompt_tokenizer(world.folder / "tokenizer" / "tokenizer.json")
    prompt = [world.eot, 5, 9, 7]
    answerer = Answerer(model, tokenizer, world.eot, 2, 1.0, None, seed=3)
    for answer in answerer.answers("q", prompt, 6, lambda _: False):
        inputs = torch.tensor([[*prompt, *answer.ids]])
        nats = model(inputs, document_ids_BT=torch.zeros_like(inputs)).log_softmax(-1)[0, 3:-1]
        own = nats.gather(-1, torch.tensor(answer.ids)[:, None])[:, 0].tolist()
        assert answer.nats == pytest.approx(own, abs=1e-4)


def test_suites_are_answered_in_lines_and_steps_end_with_an_answer(world, tmp_path) -> None:
    path = tmp_path / "suite.jsonl"
    items = [{"query": f"Q {n}?", "choices": ["the list", "a file"], "gold": n % 2} for n in range(3)]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    suite = MultipleChoiceSuite(name="lists", path=str(path))
    spec = RepeatedSamplingSpec(
        heldout_words=0, suites=("lists",), samples=2, max_new_tokens=4, reasoning=ReasoningSpec(max_new_tokens=8)
    )
    results, lines = made(world, tmp_path / "work", spec, suites=(suite,))
    assert [(way["task"], way["way"]) for way in results.ways] == [("lists", "plain"), ("lists", "reasoning")]
    assert [line["answer"] for line in lines[:3]] == ["the list", "a file", "the list"]
    assert lines[0]["context"] == "Q 0?"
    question = Question("lists", "1", "1", "Q?", "Q?", "the list", line=True)
    assert question.given(" The list!\nQ: more") == "the list"
    assert question.given("\n ... \n") is None
    assert not question.ended(" the list")
    assert question.ended(" the list\n")


def test_passages_are_those_of_the_question_and_not_of_the_solved_items(world, indexed, tmp_path) -> None:  # noqa: F811
    path, shots = tmp_path / "suite.jsonl", tmp_path / "shots.jsonl"
    path.write_text(json.dumps({"query": "Where does sand sink first?", "choices": ["a", "b"], "gold": 0}))
    words = "bread yeast sugar flour gas dough crust"
    solved = [{"query": f"{n}: {words}?", "choices": ["a", "b"], "gold": 0} for n in range(2)]
    shots.write_text("".join(json.dumps(item) + "\n" for item in solved))
    suite = MultipleChoiceSuite(name="facts", path=str(path), shots=str(shots))
    (question,) = of_suite(suite, 2, world.tokenizer, 1000)
    assert question.context.count(words) == 2
    prompt = Ways(SPEC, indexed.searcher, 1).prompts(question, lambda _: True)["retrieved"]
    passage = prompt.removesuffix(question.context)
    assert "the sand sinks first" in passage
    assert "yeast" not in passage


@pytest.mark.parametrize(
    ("text", "given", "ended"),
    [(" don't", "don't", False), ("Hi there", "hi", True), ("...", None, False), ("", None, False)],
)
def test_a_word_is_complete_when_something_follows(text, given, ended) -> None:
    question = Question("heldout_words", "1", "1", "Q", "Q", "hi", line=False)
    assert (question.given(text), question.ended(text)) == (given, ended)


def test_what_can_not_be_asked_is_told(world, tmp_path) -> None:
    with pytest.raises(PedigreeError, match="no question fits into the 8 tokens of the model with 5 new ones"):
        made(world, tmp_path, sequence_length=8)
    for wrong, words in (
        ({"heldout_words": 0}, "no question is asked"),
        ({"judges": ("oracle",)}, "unknown judge 'oracle'; known: likelihood, likelihood_per_token"),
        ({"samples": 65}, "less than or equal to 64"),
        ({"reasoning": {"answer": "("}}, "no regular expression"),
        ({"reasoning": {"answer": "answer"}}, "has 0 groups"),
    ):
        with pytest.raises(ValidationError, match=words):
            RepeatedSamplingSpec.model_validate(wrong)
    talks = MultipleChoiceSuite(name="talks", path="q.jsonl", chat_template=True)
    with pytest.raises(ValueError, match="names 'talks', whose chat_template is true; it asks in plain text only"):
        check_repeated_sampling(RepeatedSamplingSpec(suites=("talks",)), EvaluationSpec(suites=(talks,)), 512)
