"""The section about tuning."""

from llm_core.report.blocks import Cards, Facts, Marked, Table, Text
from llm_core.report.sections.tuning import tuning
from tests.report.conftest import HOSTILE, artifact, job_of, run_stats

ROW = {"task": "heldout", "metric": "bits_per_byte", "before": 2.0, "after": 2.2, "difference": 0.2, "low": 0.1,
       "high": 0.3, "p": 0.001, "verdict": "worse", "items": 40}  # fmt: skip
SHOWN = {"place": "talks/a.jsonl:3", "pieces": [["User:\nHi", False], [HOSTILE, True]], "more_tokens": 7}


def inputs(folder):
    stats = {
        "instruct_conversations": {"records": 90, "conversations_by_source": {"talks": 80}, "offenders": [HOSTILE],
                                   "dropped_by_reason": {"no answer": 10}},
        "instruct_shards": {"template": "plain", "too_long": 4, "too_long_share": 0.05, "persona_repeats": 3,
                            "persona_share": 0.05},
        "instruct_mask_gate": {"shown": [SHOWN] * 5, "tokens": 1000, "target_share": 0.25},
        "instruct_model": run_stats(start_validation_loss=3.5, final_validation_loss=2.5),
        "tuning_comparison": {"models": {"instruct_eval_results": [ROW, {**ROW, "task": "suite", "metric": "accuracy",
                                         "difference": -0.05, "verdict": "undecided"}]},
                              "forgotten": {"instruct_eval_results": 0.1}},
    }  # fmt: skip
    return {name: artifact(folder / name, name, own) for name, own in stats.items()}


def test_without_tuning_there_is_no_section(tmp_path):
    assert tuning(job_of({}, tmp_path)) is None


def test_what_was_learnt_what_is_coloured_and_what_changed(tmp_path):
    section = tuning(job_of(inputs(tmp_path), tmp_path))
    (facts,) = [block for block in section.blocks if isinstance(block, Facts)]
    rows = dict(facts.rows)
    assert rows["Dropped for a fault"] == "no answer (10)"
    assert rows["Longer than a sequence, left out"] == "4 (5.0%)"
    assert rows["Persona"] == "5.0% of the tokens; each exchange 3 times"
    (cards,) = [block for block in section.blocks if isinstance(block, Cards)]
    assert len(cards.cards) == 5
    assert cards.cards[0].pieces == ("User:\nHi", Marked(HOSTILE, "mark"))
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    cells = [[cell.text for cell in line] for _, line in table.lines()]
    assert cells[0][2:7] == ["2.0000", "2.2000", "+0.2000", "+0.1000 to +0.3000", "worse"]
    assert cells[1][4] == "\N{MINUS SIGN}5.0 points"
    texts = [block for block in section.blocks if isinstance(block, Text)]
    assert "3.5000 before, 2.5000 after 256 steps" in texts[0].pieces[0]
    (told,) = [block for block in texts if block.style == "warning"]
    assert "2.0000 bits per byte of the base model's held-out text before, 2.2000 after (+10.0%)" in told.pieces[0]


def test_preferences_are_told_with_their_intervals(tmp_path):
    def score(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    names = ("margin", "accuracy", "likelier_before", "likelier_after", "likelier_change", "longer", "rejected_change")
    found = {"pairs": 40, "prompts": 40, "chosen_change": score(-3.0), **{name: score(0.7) for name in names}}
    planted = {**inputs(tmp_path), "preference_margins": artifact(tmp_path / "margins", "preference_margins", found)}
    section = tuning(job_of(planted, tmp_path))
    (table, _) = [block for block in section.blocks if isinstance(block, Table)]
    cells = [[cell.text for cell in line] for _, line in table.lines()]
    assert cells[0] == ["Margin above 0", "70.0%", "60.0% to 80.0%"]
    texts = [piece for block in section.blocks if isinstance(block, Text) for piece in block.pieces]
    assert any("70.0% of 40 held-out pairs, which is above one half" in piece for piece in texts)
    assert any("became less likely, too" in piece for piece in texts)
