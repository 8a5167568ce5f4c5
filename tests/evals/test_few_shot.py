"""Solved items before each question."""

import json
from pathlib import Path

import pytest

from llm_core.chat.model_chat import model_chat
from llm_core.data.suites import sample_suite
from llm_core.errors import PedigreeError
from llm_core.evals.evaluation import source_digests
from llm_core.evals.few_shot import prompts, solved_items
from llm_core.experiment.base import canonical
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.suites import MinimalPairsSuite, MultipleChoiceSuite
from tests.evals.conftest import World


@pytest.fixture
def suite(tmp_path: Path) -> MultipleChoiceSuite:
    path = tmp_path / "q.jsonl"
    rows = [{"query": f"what is a {n}", "choices": ["file", "value " * (1 + n)], "gold": n % 2} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return MultipleChoiceSuite(name="q", path=str(path), suffix="?", max_items=6)


def test_solved_items_are_never_asked_and_missing_ones_are_told_by_the_plan(suite: MultipleChoiceSuite) -> None:
    solved = solved_items(suite, 2)
    assert len(solved) == 2
    assert not {item.context for item in solved} & {item.context for item in sample_suite(suite)}
    assert solved_items(suite, 1) == solved[:1]
    source_digests(EvaluationSpec(suites=(suite,), few_shot={"q": 3}))
    with pytest.raises(PedigreeError, match=r"few_shot: q needs 4 items that are not asked, and .*q\.jsonl has 3"):
        source_digests(EvaluationSpec(suites=(suite,), few_shot={"q": 4}))


def test_only_suites_with_contexts_have_them_and_only_then_they_are_in_the_identity(suite: MultipleChoiceSuite) -> None:
    plain = EvaluationSpec(suites=(suite,))
    assert "few_shot" not in canonical(plain)
    assert canonical(EvaluationSpec(suites=(suite,), few_shot={"q": 2}))["few_shot"] == {"q": 2}
    with pytest.raises(ValueError, match=r"few_shot names 'z', but the suites .* are: q"):
        EvaluationSpec(suites=(suite, MinimalPairsSuite(name="z", path="z.jsonl")), few_shot={"z": 2})


def test_solved_items_stand_before_each_question(world: World, suite: MultipleChoiceSuite) -> None:
    items = sample_suite(suite)
    made = prompts(suite, items, 2, world.tokenizer, 10_000)
    first, second = (f"{item.context}? {item.choices[item.gold]}" for item in solved_items(suite, 2))
    assert [prompt["context"] for prompt in made.inputs] == [
        f"{first}\n\n{second}\n\n{item.context}?" for item in items
    ]
    assert [tuple(prompt["choices"]) for prompt in made.inputs] == [item.choices for item in items]
    assert made.stats() == {"few_shot": 2, "prompts_shortened": 0}
    zero_shot = prompts(suite, items, 0, world.tokenizer, 1)
    assert (zero_shot.inputs[0]["context"], zero_shot.stats()) == (f"{items[0].context}?", {})


def test_in_the_chat_template_they_stand_in_the_users_turn(
    world: World, suite: MultipleChoiceSuite, tmp_path: Path
) -> None:
    """The template and the system line are those beside the model."""
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    (tmp_path / "chat.json").write_text('{"system": "Be short.", "stop": [0]}')
    chat = model_chat(tmp_path, world.folder / "tokenizer" / "tokenizer.json")
    talks = suite.model_copy(update={"chat_template": True})
    assert "chat_template" not in canonical(suite)
    items = sample_suite(talks)[:1]
    made = prompts(talks, items, 2, world.tokenizer, 10_000, chat)
    (plain,) = prompts(suite, items, 2, world.tokenizer, 10_000).inputs
    (row,) = made.inputs
    text = world.tokenizer.decode(row["prompt_ids"], skip_special_tokens=False)
    assert text == f"<|endoftext|><system>Be short.<|endoftext|><user>{plain['context']}<|endoftext|><assistant>"
    assert (plain["delimiter"], row["delimiter"]) == (" ", "")
    assert made.stats() == {"few_shot": 2, "prompts_shortened": 0, "chat_prompts_cut": 0}
    needed = len(row["prompt_ids"]) + max(len(world.tokenizer.encode(choice).ids) for choice in row["choices"])
    assert prompts(talks, items, 2, world.tokenizer, needed - 1, chat).shortened == 0
    assert prompts(talks, items, 2, world.tokenizer, needed - 2, chat).shortened == 1
    assert prompts(talks, items, 2, world.tokenizer, 5, chat).cut == 1


def test_a_small_context_gets_fewer(world: World, suite: MultipleChoiceSuite) -> None:
    items = sample_suite(suite)
    whole = prompts(suite, items, 2, world.tokenizer, 10_000).inputs

    def tokens(prompt: dict) -> int:
        return max(len(world.tokenizer.encode(f"{prompt['context']} {choice}").ids) for choice in prompt["choices"])

    lengths = sorted(map(tokens, whole))
    exact = prompts(suite, items, 2, world.tokenizer, lengths[-1] - 1)
    assert (exact.inputs, exact.shortened) == (whole, 0)
    short = prompts(suite, items, 2, world.tokenizer, lengths[2] - 1)
    assert short.shortened == sum(length > lengths[2] for length in lengths)
    assert all(tokens(prompt) <= lengths[2] for prompt in short.inputs)
    last = solved_items(suite, 2)[1]
    cut = next(ours for ours, full in zip(short.inputs, whole, strict=True) if ours != full)
    assert cut["context"].startswith(f"{last.context}? {last.choices[last.gold]}\n\n")
    assert prompts(suite, items, 2, world.tokenizer, 1).shortened == len(items)
