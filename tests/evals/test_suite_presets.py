"""The prompts of published formats, as they were written by hand from their code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_core.data.suites import read_suite, suite_digests
from llm_core.errors import PedigreeError
from llm_core.evals.few_shot import drawn_items, prompts, solved_items
from llm_core.evals.suite_tasks import score_choices, suite_task
from llm_core.experiment.base import canonical, from_plain
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.suite_presets import SUITES
from tests.evals.conftest import World

ARC = [
    {"query": "Question: What melts?", "choices": ["ice", "a stone"], "gold": 0},
    {"query": "Question: What is hot?", "choices": ["snow", "fire"], "gold": 1},
]
GOALS = [
    {"query": "Question: Cool a drink\n", "choices": ["Add ice.", "Add salt."], "gold": 0},
    {"query": "Question: Warm a room\n", "choices": ["Open it.", "Heat it."], "gold": 1},
]
ENDINGS = [
    {"query": "Rowing: A man sits. he", "choices": ["rows.", "flies."], "gold": 0},
    {"query": "Baking: A pan is hot. it", "choices": ["sings.", "glows."], "gold": 1},
]
WORDS = [{"context": "He came with his dog. It was a good ", "continuation": "dog"}]

# Preset → the file, and what the model reads before the choices of the second item, with the first one solved.
READ: dict[str, tuple[list[dict], str, list[str]]] = {
    "core/hellaswag_zeroshot": (ENDINGS, "Baking: A pan is hot. it", [" sings.", " glows."]),
    "core/hellaswag": (
        ENDINGS,
        "Rowing: A man sits. he rows.\nBaking: A pan is hot. it",
        [" sings.", " glows."],
    ),
    "core/arc_easy": (
        ARC,
        "Question: What melts?\nAnswer: ice\nQuestion: What is hot?\nAnswer:",
        [" snow", " fire"],
    ),
    "core/piqa": (
        GOALS,
        "Question: Cool a drink\nAnswer: Add ice.\nQuestion: Warm a room\nAnswer:",
        [" Open it.", " Heat it."],
    ),
    "core/lambada_openai": (WORDS * 2, "He came with his dog. It was a good", [" dog"]),
    "olmes/arc_easy": (
        ARC,
        "Question: What melts?\nAnswer: ice\n\nQuestion: What is hot?\nAnswer:",
        [" snow", " fire"],
    ),
    "olmes/arc_easy_mc": (
        ARC,
        "Question: What melts?\n A. ice\n B. a stone\nAnswer: A\n\nQuestion: What is hot?\n A. snow\n B. fire\nAnswer:",
        [" A", " B"],
    ),
    "olmes/hellaswag": (
        ENDINGS,
        "Rowing: A man sits. he rows.\n\nBaking: A pan is hot. it",
        [" sings.", " glows."],
    ),
    "olmes/hellaswag_mc": (
        ENDINGS,
        "Rowing: A man sits. he\nChoose the best continuation:\n A. rows.\n B. flies.\nAnswer: A\n\n"
        "Baking: A pan is hot. it\nChoose the best continuation:\n A. sings.\n B. glows.\nAnswer:",
        [" A", " B"],
    ),
    "olmes/piqa": (
        GOALS,
        "Goal: Cool a drink\nAnswer: Add ice.\n\nGoal: Warm a room\nAnswer:",
        [" Open it.", " Heat it."],
    ),
    "olmes/piqa_mc": (
        GOALS,
        "Goal: Cool a drink\n A. Add ice.\n B. Add salt.\nAnswer: A\n\n"
        "Goal: Warm a room\n A. Open it.\n B. Heat it.\nAnswer:",
        [" A", " B"],
    ),
}


def written(path: Path, records: list[dict]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def evaluation(*suites: Mapping[str, Any], **fields: Any) -> EvaluationSpec:
    return from_plain(EvaluationSpec, {"suites": [dict(suite) for suite in suites], **fields})


@pytest.mark.parametrize("preset", SUITES)
def test_the_prompt_is_that_of_the_published_code(world: World, tmp_path: Path, preset: str) -> None:
    records, context, answers = READ[preset]
    path = written(tmp_path / "asked.jsonl", records)
    solved = {"shots": written(tmp_path / "shots.jsonl", records[:1])} if preset.startswith("olmes") else {}
    (suite,) = evaluation({"preset": preset, "path": path, **solved}).suites
    made = prompts(suite, read_suite(suite)[1:], min(1, SUITES[preset][1]), world.tokenizer, 10_000)
    (row,) = made.inputs
    assert row["context"] == context
    assert [f"{row['delimiter']}{choice}" for choice in row["choices"]] == answers


def test_presets_bring_their_solved_items_and_own_fields_override() -> None:
    made = evaluation(
        {"preset": "core/piqa", "path": "p.jsonl"},
        {"preset": "olmes/piqa", "path": "p.jsonl", "name": "goals", "max_items": 50},
        {"preset": "core/lambada_openai", "path": "l.jsonl"},
        {"kind": "perplexity", "name": "texts", "path": "t.jsonl"},
        few_shot={"goals": 2},
    )
    assert made.few_shot == {"core_piqa": 10, "goals": 2}
    assert [suite.name for suite in made.suites] == ["core_piqa", "goals", "core_lambada_openai", "texts"]
    assert made.suites[1].max_items == 50
    written_out = canonical(made)["suites"][0]
    assert (written_out["criterion"], written_out["chance"], written_out["separator"]) == ("tokens", 0.5, "\n")
    assert "preset" not in written_out
    assert evaluation(*(suite.model_dump() for suite in made.suites), few_shot=made.few_shot) == made
    with pytest.raises(ValueError, match="unknown preset 'core/squad'; known: core/hellaswag_zeroshot, "):
        evaluation({"preset": "core/squad", "path": "s.jsonl"})


def test_a_file_of_solved_items_counts(tmp_path: Path) -> None:
    shots = written(tmp_path / "shots.jsonl", ARC)
    (suite,) = evaluation(
        {"preset": "olmes/arc_easy", "path": written(tmp_path / "a.jsonl", ARC), "shots": shots}
    ).suites
    assert list(suite_digests([suite])) == ["suite olmes_arc_easy", "suite olmes_arc_easy: shots"]
    assert [item.context for item in solved_items(suite, 2)] == [row["query"] for row in ARC]
    with pytest.raises(PedigreeError, match=r"shots\.jsonl: has 2 items, and evaluation\.few_shot wants 3"):
        solved_items(suite, 3)
    many = {"query": "Which?", "choices": [str(number) for number in range(27)], "gold": 0}
    with pytest.raises(
        PedigreeError, match=r"line 1: the field 'choices' has 27 choices, and there are letters for 26"
    ):
        read_suite(suite.model_copy(update={"lettered": True, "path": written(tmp_path / "m.jsonl", [many])}))


def test_core_draws_other_solved_items_for_each_question_as_llm_foundry_does(tmp_path: Path) -> None:
    """The places are what its function ``get_fewshot_sample_idxs`` gave, with its seed."""
    path = written(tmp_path / "a.jsonl", [{**ARC[0], "query": f"Question: {number}?"} for number in range(100)])
    (suite,) = evaluation({"preset": "core/arc_easy", "path": path}).suites
    assert solved_items(suite, 3) == []
    drawn = [[int(item.item_id) - 1 for item in shown] for shown in drawn_items(suite, 3).values()]
    assert drawn[:4] == [[56, 99, 14], [0, 74, 11], [88, 4, 85], [10, 12, 98]]
    few = suite.model_copy(update={"path": written(tmp_path / "b.jsonl", ARC * 2 + ARC[:1])})
    drawn = [[int(item.item_id) - 1 for item in shown] for shown in drawn_items(few, 2).values()]
    assert drawn == [[3, 4], [0, 4], [0, 1], [0, 4], [0, 2]]
    with pytest.raises(PedigreeError, match=r"b\.jsonl: has 5 items, and evaluation\.few_shot wants 5 others"):
        solved_items(few, 5)
    with pytest.raises(ValueError, match="leave shots out, or draw_shots"):
        evaluation({"preset": "core/arc_easy", "path": path, "shots": path})


def test_core_divides_by_tokens_and_olmes_by_characters(world: World, tmp_path: Path) -> None:
    path = written(tmp_path / "asked.jsonl", [{"query": "the", "choices": ["list λ", "file"], "gold": 1}])
    by = {"core/hellaswag_zeroshot": "tokens", "olmes/hellaswag": "characters"}
    made = {}
    for preset, criterion in by.items():
        (suite,) = evaluation({"preset": preset, "path": path}).suites
        assert suite.criterion == criterion
        ((row),) = prompts(suite, read_suite(suite), 0, world.tokenizer, 10_000).inputs
        made[criterion] = row
    whole = [world.tokenizer.encode(f"the{text}").ids for text in (" list λ", " file")]
    assert made["tokens"]["sizes"] == [len(ids) - len(world.tokenizer.encode("the").ids) for ids in whole]
    assert made["characters"]["sizes"] == [6, 4]
    task = suite_task("asked", "multiple_choice", Path(path), "characters")
    assert [found["metric"] for found in task["metric_list"]] == [
        "right",
        "right_per_byte",
        "bits",
        "right_per_character",
    ]
    found = task["process_results"](made["characters"], [(-6.0, False), (-4.4, False)])
    assert (found["right"], found["right_per_character"]) == (1.0, 0.0)
    assert score_choices(made["characters"], [(-6.0, False), (-4.4, False)]).keys() == {
        "right",
        "right_per_byte",
        "bits",
    }
