"""The pages about a study: they say what follows, and what to do where something is missing."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assets.graph import experiment_graph
from assets.release import STUDY
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.experiment import Experiment
from llm_core.graph.job import Job
from llm_core.report import study_report, training_report
from llm_core.report.blocks import Facts, Section, Table, Text, Tiles, pictures_in
from llm_core.report.checks import page_written
from llm_core.report.page import write_page
from llm_core.report.sections.batches import batches
from llm_core.report.sections.forecast import forecast, forecast_cost
from llm_core.report.sections.ideas import idea_times, ideas
from llm_core.report.sections.made import lineage
from llm_core.report.sections.mixtures import mixtures
from llm_core.report.sections.noise import noise
from llm_core.report.sections.rates import rates
from llm_core.report.sections.scaling import scaling_law
from llm_core.report.sections.scores import evaluation
from llm_core.report.sections.suites import suites
from llm_core.store.manifest import Artifact, Overrule
from llm_core.study.results import Forecast, LaunchGate
from pipelines.experiments import open_experiment
from tests.report.conftest import artifact, cells, job_of
from tests.report.study_story import launched, record, studied

SECTIONS = (forecast, scaling_law, rates, batches, ideas, mixtures, noise, suites)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return studied(tmp_path_factory.mktemp("study"))


@pytest.fixture
def changed(study: dict[str, Artifact], tmp_path: Path) -> Callable[..., Job]:
    """The job of a report; ``stage={field: value}`` changes the results of that stage."""

    def make(**stages: dict[str, Any]) -> Job:
        inputs: dict[str, Artifact | None] = dict(study)
        for name, fields in stages.items():
            old = study[name]
            stats = {**old.stats, **fields}
            inputs[name] = artifact(old.path, name, stats, config=old.manifest.config)
        return job_of(inputs, tmp_path)

    return make


def words(section: Section | None) -> str:
    """All texts of a section but for its tables."""
    assert section is not None
    found = []
    for block in section.blocks:
        if isinstance(block, Text):
            found.append("".join(piece if isinstance(piece, str) else piece.text for piece in block.pieces))
        elif isinstance(block, Tiles):
            found += [f"{tile.what} {tile.value} {tile.more}" for tile in block.tiles]
        elif isinstance(block, Facts):
            found += [f"{name} {value}" for name, value in block.rows]
    return "\n".join(found)


def test_a_report_without_a_study_has_none_of_its_sections(told: dict[str, Artifact], tmp_path: Path) -> None:
    job = job_of({**told, "ablation_report": None}, tmp_path)
    assert not any(section(job) for section in (*SECTIONS, forecast_cost, idea_times))


def test_the_page_before_the_launch_needs_no_full_run(study: dict[str, Artifact], tmp_path: Path) -> None:
    before = {name: study[name] for name in STUDY}
    results = study_report.build(job_of(before, tmp_path), "planted")
    page = (tmp_path / "out" / study_report.PAGE).read_text()
    assert page_written(results, ChecksSpec()).passed
    titles = ("Forecast", "Scaling law", "Learning rates", "Batch", "Ideas", "Mixtures", "Noise", "Suites")
    for title in titles:
        assert title in page
    assert (tmp_path / "out" / study_report.MADE).exists()


def relaunched(job: Job, result: float | None = None, closed: tuple[str, ...] = (), **changes: Any) -> Job:
    """The same, for a run that reached ``result``; ``closed``: the conditions that did not hold; ``changes``: of the
    sealed forecast; ``gate=None``: it was launched without one."""
    run, gates = job.inputs["pretrained_model"], []
    if changes.get("gate", run) is not None:
        sealed = LaunchGate.model_validate({**run.manifest.gates[0].results, **changes})
        signed = Overrule(
            kind="launch_gate", identity="a" * 32, stage="launch_gate", checks=[], who="Ada", when="2026", why="urgent"
        )
        gates = [record(sealed, closed, **({"passed": "overruled", "overrule": signed} if closed else {}))]
    inputs = {**job.inputs, "pretrained_model": launched(run.path, gates, result)}
    return Job(job.stage, "i", inputs, job.work, job.out)


def test_the_forecast_is_said_in_words_with_its_conditions(changed: Callable[..., Job]) -> None:
    job = changed(forecast={"flops": 1e20, "study_flops": 6e18})
    section = forecast(relaunched(job, forecast=0.812, low=0.797, high=0.827))
    first = words(section).splitlines()[0]
    assert "expected to reach 0.812 bits per byte (90%: 0.797 to 0.827). The study took 6.0% of its FLOPs" in first
    assert "All 8 conditions on the study held at the launch" in words(section)
    assert "The study has changed since; it now expects 0.81" in words(section)
    assert "has changed" not in words(forecast(changed()))
    rows = cells(section)
    assert len(rows) == 8
    assert ["The rate is near the best", "1.0%", "passed"] in [[row[0], *row[2:]] for row in rows]
    assert [row[0] for row in cells_in_pair(section)] == ["1.00B", "2.00B", "3.00B", "4.00B"]


def cells_in_pair(section: Section | None) -> list[list[str]]:
    assert section is not None
    (pair,) = [block for block in section.blocks if block.block == "pair"]
    table = next(block for block in pair.blocks if isinstance(block, Table))
    return [[cell.text for cell in line] for _, line in table.lines()]


def test_a_closed_gate_says_what_to_do_and_who_overruled_it(changed: Callable[..., Job]) -> None:
    job = relaunched(changed(), closed=("regret", "hours"))
    said = "1 of 8 conditions on the study did not hold at the launch. Ada overruled the gate: urgent."
    assert said in words(forecast(job))
    section = forecast(job)
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    (_, first), (_, second), *_ = table.lines()
    assert (first[0].text, first[-1].text) == ("The rate is near the best", "failed")
    assert first[1].more == "What to do: Launch at the best rate of the sweeps, or widen them."
    assert (second[-1].text, second[1].more) == ("passed", "")
    assert "1 of 3 conditions on time, money and machine did not hold" in words(forecast_cost(job))


def test_time_and_money_are_on_the_page_beside_it(changed: Callable[..., Job]) -> None:
    spent = {"hours": {"cooldown": 1.5, "ideas": 0.5}, "dollars": 4.25}
    job = relaunched(changed(study_cost=spent, forecast={"flops": 1e20, "study_flops": 6e18}), hours=31.0, dollars=750)
    said = words(forecast_cost(job))
    assert re.search(r"\(90%: .*\), in about 31 hours and \$750\.", said)
    parts = "(cooldowns 1 h 30 min, ideas 30 min 0 s)"
    assert f"The study took 2 h 0 min of training and $4.25, and 6.0% of the full run's FLOPs {parts}." in said
    names = {"It is short enough", "The machine can run it", "It is cheap enough"}
    assert {row[0] for row in cells(forecast_cost(job))} == names
    assert "Set compute.price_per_gpu_hour" in words(forecast_cost(relaunched(job, dollars=None)))


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.004, r"reached 0\.\d+ bits per byte, 0\.40% above the forecast, within .* sealed before the run began\."),
        (0.9, r"10\.0% below the forecast, outside .* before the run began\. Find out why"),
    ],
)
def test_the_result_is_beside_the_forecast(changed: Callable[..., Job], factor: float, said: str) -> None:
    job = changed()
    told = job.inputs["forecast"].results(Forecast)
    section = forecast(relaunched(job, factor * told.loss))
    assert re.search(said, words(section))
    assert section is not None
    assert "result" in pictures_in(section.blocks)[0].svg


def test_a_forecast_that_was_not_sealed_tests_nothing(changed: Callable[..., Job]) -> None:
    section = forecast(relaunched(changed(), 0.8, gate=None))
    assert "launched without a gate, so the forecast may be younger, and this does not test it" in words(section)
    assert "conditions" not in words(section)


def test_the_law_beside_published_ones_and_what_follows_for_the_size(changed: Callable[..., Job]) -> None:
    section = scaling_law(changed())
    rows = {row[0]: row[1:] for row in cells(section)}
    assert re.fullmatch(r"0\.3\d\d ± 0\.\d{3}", rows["α, of parameters"][0])
    assert rows["α, of parameters"][1:] == ["0.34", "0.348", "–"]
    assert rows["β, of tokens"][1:] == ["0.28", "0.366", "–"]
    assert (rows["α, form without E"][-1], rows["β, form without E"][-1]) == ("0.076", "0.095")
    assert "the launched size is as good as the best one: keep it" in words(section)
    assert "(launched: 500M)" in words(section)
    assert len(pictures_in(section.blocks)) == 2


@pytest.mark.parametrize(("size", "said"), [(1.5e8, r"0\.3 .*more tokens"), (2e9, r"4 .*fewer tokens")])
def test_a_size_that_is_not_the_best_is_said(changed: Callable[..., Job], size: float, said: str) -> None:
    job = changed()
    told = job.inputs["forecast"].results(Forecast)
    law = {"floor": 0.6, "alpha": 0.34, "beta": 0.37, "coefficients": [107.0, 349.0]}
    optimum = {"optimal_parameters": size, "optimal_tokens": told.flops / 6 / size}
    # A law under which the launched 500M parameters are far from the best.
    law["coefficients"] = [107.0 * (size / 5e8) ** 0.71, 349.0]
    text = words(scaling_law(changed(scaling_law=law, forecast=optimum)))
    assert re.search(rf"a model of {said} would be best: the law expects its loss to be \d+\.\d+% lower", text)


def test_runs_that_do_not_fit_are_crosses_and_named(changed: Callable[..., Job], study: dict[str, Artifact]) -> None:
    named = {"excluded": ["scaling_runs/odd"], "diverged": ["scaling_runs/lost"], "coverage": None}
    text = words(scaling_law(changed(scaling_law=named)))
    assert "outliers (scaling_runs/odd)" in text
    assert "Without a finite loss, and on no plot: scaling_runs/lost" in text
    assert "too few runs to test its forecasts on larger ones; add a size or a budget" in text


def test_the_best_rate_stands_beside_the_launched_one(changed: Callable[..., Job]) -> None:
    section = rates(
        changed(rate_law={"best_rate": 1.2e-3, "best_rate_low": 9e-4, "best_rate_high": 2e-3, "regret": 2e-3})
    )
    assert "The launched rate is 0.001. By the sweeps, the best one is 0.0012 (90%: 0.0009 to 0.002)" in words(section)
    assert "lose 0.20% of the loss against it. It lies within the interval: keep it." in words(section)
    assert [row[:2] for row in cells(section)] == [["256", "0.5, 1, 2"], ["512", "0.5, 1, 2"]]
    outside = {"best_rate": 3e-3, "best_rate_low": 2e-3, "best_rate_high": 4e-3}
    assert "It lies outside: launch at 0.003." in words(rates(changed(rate_law=outside)))


def test_missing_sweeps_and_edges_say_what_to_do(changed: Callable[..., Job]) -> None:
    nothing = {"best_rate": None, "best_rate_low": None, "best_rate_high": None, "regret": None}
    assert "Give some sizes of the study rates: [0.5, 2]" in words(rates(changed(rate_law={"sweeps": [], **nothing})))
    edge = {"width": 256, "points": [[0.5, 1.2], [1.0, 1.1], [2.0, None]], "multiple": 1.0, "log_sd": None}
    edge |= {"regret": None, "loss": 1.1, "curvature": 0.0, "at_edge": True}
    section = rates(changed(rate_law={"sweeps": [edge], "at_edge": [256], **nothing}, noise_law={"sd": None}))
    assert "Add a rate beyond the edge." in words(section)
    assert "No size has several seeds, so a noise of" in words(section)
    assert cells(section) == [["256", "0.5, 1, 2 (diverged)", "1.00", "–", "not known", "yes: add a rate beyond it"]]
    flat = {**edge, "points": [[0.5, 1.2], [1.0, 1.1], [2.0, 1.2]]}
    (row,) = cells(rates(changed(rate_law={"sweeps": [flat], "at_edge": [256], **nothing})))
    assert row[-2:] == ["not known", "no, but flat: add rates further away"]


def test_the_batch_beside_the_noise_scale_and_what_larger_ones_cost(changed: Callable[..., Job]) -> None:
    section = batches(changed())
    assert "at about 400k tokens by the end of the run (90%: 200k to 900k). The launched one lies below" in words(
        section
    )
    assert cells_in_pair(section)[0] == ["256", "20.0M", "40.0k", "30.0k to 55.0k"]
    assert [row[-1] for row in cells(section)] == [
        "yes: below it, and free", "yes: above it, and costs", "no: above it, but free", "–",
    ]  # fmt: skip
    assert "lies within" in words(batches(changed(batch_law={"critical_low": 5e4})))
    assert "lower training.batch_tokens" in words(batches(changed(batch_law={"launched": 10**6})))
    blank = {"critical": None, "critical_low": None, "critical_high": None, "checks": []}
    scales = [
        {"role": "trunk", "width": 64, "tokens": tokens, "batch": None, "why": why}
        for tokens, why in ((1e6, "its batch was one micro-batch"), (1e5, "too short"))
    ]
    said = words(batches(changed(batch_law={**blank, "scales": scales})))
    assert "is not known: its batch was one micro-batch." in said
    assert "Give one size of the study batches: [2, 4] to see" in said


def test_only_decided_ideas_have_a_colour(changed: Callable[..., Job]) -> None:
    section = ideas(changed())
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    styles = {(line[2].text, line[2].style, line[3].style) for _, line in table.lines()}
    assert styles == {
        ("better", "better", "better"), ("worse", "worse", "worse"), ("equivalent", "", ""), ("undecided", "", ""),
    }  # fmt: skip
    rows = [{**row, "verdict": "undecided"} for row in changed().inputs["ablation_report"].stats["rows"]]
    coloured, grey = (
        "".join(picture.svg for picture in pictures_in(found.blocks))
        for found in (section, ideas(changed(ablation_report={"rows": rows})))
    )
    for colour in ("--teal", "--rose"):
        assert colour in coloured
        assert colour not in grey


def test_ideas_say_what_follows(changed: Callable[..., Job]) -> None:
    section = ideas(changed())
    text = words(section)
    assert re.search(
        r"at width 512\. Take: good \(−[23]\.\d\d%\)\. Leave out: bad \(\+2\.\d\d%\)\. Makes no difference: alike\. "
        r"Undecided: unclear \(about \d+ seeds would decide\)\.",
        text,
    )
    assert re.search(
        r"Per doubling of the width, the difference of bad (grows|shrinks) by \d\.\d+%, of good (grows|shrinks)", text
    )
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    rows = {(line[0].text, line[1].text): line for _, line in table.lines()}
    good = rows["good", "256"]
    assert good[0].more == "mixer.qk_norm: true"
    assert re.fullmatch(r"−\d\.\d\d% to −\d\.\d\d%", good[3].more)
    assert [cell.text for cell in good[4:7]] == ["3", "1", "1"]
    unclear = rows["unclear", "256"]
    assert unclear[2].more == "1 run diverged"
    assert re.fullmatch(r"(\d+|no number) would decide", unclear[4].more)
    # Four fifths of the speed cost more than a part of the gain.
    times = {(row[0], row[1]): row[2:] for row in cells(idea_times(changed()))}
    assert times["good", "256"][0] == "0.8"


def test_an_idea_that_turns_at_equal_flops_is_told(changed: Callable[..., Job]) -> None:
    rows = [{**row, "at_equal_flops": 0.004} for row in changed().inputs["ablation_report"].stats["rows"]]
    assert "; but +0.40% at equal FLOPs)" in words(ideas(changed(ablation_report={"rows": rows})))


def test_one_seed_decides_nothing_and_says_what_to_do(changed: Callable[..., Job]) -> None:
    blank = {"low": None, "high": None, "p": None, "seeds": 1, "seeds_needed": None, "verdict": "undecided"}
    rows = [{**row, **blank} for row in changed().inputs["ablation_report"].stats["rows"]]
    rows[0] |= {"difference": None, "seeds": 0, "at_equal_flops": None}
    section = ideas(changed(ablation_report={"rows": rows}))
    assert "Give the sizes with ideas at least seeds: 3" in words(section)
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert {(line[3].more, line[4].more) for _, line in table.lines()} == {("", "no number would decide")}


def test_noise_by_width_and_what_to_do_without_seeds(changed: Callable[..., Job]) -> None:
    by_width = {"64": {"sd": 0.003, "low": 0.002, "high": 0.009, "freedom": 2.0}}
    found = {"sd": 0.002, "low": 0.0015, "high": 0.004, "freedom": 4, "by_width": by_width}
    section = noise(changed(noise_law=found))
    assert "varies by 0.20% from seed to seed (one standard deviation; 90% interval: 0.15% to 0.40%)" in words(section)
    assert "less than 0.57% between two single runs may be chance" in words(section)
    assert cells(section) == [["64", "0.30%", "0.20% to 0.90%", "2 more seeds"]]
    assert cells(noise(changed()))[-1][0] == "all"
    parts = {
        "by_width": {"64": {"sd": 0.004, "low": 0.003, "high": 0.009, "freedom": 2.0}},
        "orders": {"64": {"sd": 0.003, "low": 0.002, "high": 0.008, "freedom": 2.0}},
        "weights": {"64": 0.0026},
        "text": {"64": 0.02, "128": 0.01},
        "text_between_seeds": {"64": 0.001},
    }
    section = noise(changed(noise_law=parts))
    assert cells(section, "The parts") == [
        ["64", "0.40%", "0.30%", "0.20% to 0.80%", "0.26%", "0.10%", "2.0%"],
        ["128", "–", "–", "–", "–", "–", "1.0%"],
    ]
    assert "At width 64, too few runs say whether the noise comes from the order of data or" in words(section)
    for low, high, said in ((0.003, 0.008, "the order of data"), (0.001, 0.002, "the initial weights")):
        orders = {"64": {**parts["orders"]["64"], "low": low, "high": high}}
        assert f"most of the noise comes from {said}." in words(noise(changed(noise_law={**parts, "orders": orders})))
    assert "makes about 6.2% of the variance between seeds at width 64: more seeds lower the noise" in words(section)
    longer = noise(changed(noise_law={**parts, "text_between_seeds": {"64": 0.003}}))
    assert "raise training.validation_tokens before you add seeds" in words(longer)
    missing = {"sd": None, "low": None, "high": None, "freedom": 0, "by_width": {}}
    assert "Give at least one size of the study seeds: 3." in words(noise(changed(noise_law=missing)))


def test_suites_say_where_they_decide_and_why_not(changed: Callable[..., Job]) -> None:
    section = suites(changed())
    said = words(section)
    assert "Compare runs of width 1024 on: clear by accuracy, clear by bits per byte, blind by bits per byte." in said
    assert "Not on: blind by accuracy." in said
    rows = {(row[0], row[1]): row[2:] for row in cells(section)}
    assert rows["blind", "accuracy"][-2:] == ["50.0%", "its score can't be told from chance"]
    assert rows["clear", "accuracy"][-1] == "decides"
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    styles = {(line[0].text, line[1].text): [cell.style for cell in line[2:6]] for _, line in table.lines()}
    assert styles["clear", "accuracy"] == ["", "better", "better", "better"]
    assert styles["blind", "accuracy"] == [""] * 4
    blind = [row for row in changed().inputs["suite_signal"].stats["rows"] if row["chance"] == 0.5]
    unknown = [{**row, "noise": None} for row in blind]
    said = words(suites(changed(suite_signal={"rows": unknown})))
    assert "Do not compare runs of width 1024 on: blind by accuracy." in said
    assert "The noise is not known: give at least one size of the study seeds: 3." in said


def test_scores_say_where_they_decide(told: dict[str, Artifact], tmp_path: Path) -> None:
    rows = [
        {"task": "zorro", "metric": "accuracy", "width": 64, "decides": True, "reason": ""},
        {"task": "continuation", "metric": "accuracy", "width": 64, "decides": False, "reason": "it is at chance"},
    ]
    signal = artifact(tmp_path / "signal", "suite_signal", {"rows": rows})
    headline = training_report.facts.headline(told, 0.0)
    found = cells(evaluation(job_of({**told, "suite_signal": signal}, tmp_path), headline))
    last = {(row[0], row[1]): row[-1] for row in found}
    assert last["zorro", "accuracy"] == "at width 64"
    assert last["real continuation, this model", "accuracy"] == "at no size: it is at chance"
    assert last["held-out text, xz", "bits per byte"] == "–"
    assert {len(row) for row in cells(evaluation(job_of({**told}, tmp_path), headline))} == {6}


def test_the_forecasts_of_suites_stand_beside_the_scores(changed: Callable[..., Job], tmp_path: Path) -> None:
    job = changed()
    before = {(row[0], row[1]): row[2:] for row in cells(forecast(job), "Scores on suites")}
    assert before["blind", "accuracy"] == ["not forecast", "–", "50.0%", "–"]
    assert re.fullmatch(r"6\d\.\d%", before["clear", "accuracy"][0])
    sealed = job.inputs["pretrained_model"].manifest.gates[0].results["suites"]
    high = next(row["high"] for row in sealed if (row["task"], row["metric"]) == ("clear", "accuracy"))
    scores = artifact(tmp_path / "scores", "eval_results", {})
    line = {"task": "clear", "metric": "accuracy", "value": high + 0.01, "low": high, "chance": 0.25, "n": 9}
    (scores.path / "evals.jsonl").write_text(json.dumps(line))
    section = forecast(Job(job.stage, "i", {**job.inputs, "eval_results": scores}, job.work, job.out))
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table) and block.caption)
    results = {(line[0].text, line[1].text): line[-1] for _, line in table.lines()}
    assert results["clear", "accuracy"].text == f"{100 * (high + 0.01):.1f}%"
    assert results["clear", "accuracy"].more == "outside"
    assert results["clear", "bits per byte"].text == "–"


def test_the_training_report_has_them(study: dict[str, Artifact], told: dict[str, Artifact], tmp_path: Path) -> None:
    run, gates = told["pretrained_model"], study["pretrained_model"].manifest.gates
    run = Artifact(run.path, run.manifest.model_copy(update={"gates": gates}))
    job = job_of({**told, **study, "pretrained_model": run}, tmp_path)
    results = training_report.build(job, "tiny", 0.0, {})
    page, beside = ((job.out / name).read_text(encoding="utf-8") for name in ("report.html", "made.html"))
    anchors = re.findall(r'<section id="([a-z]+)"', page)
    assert [name for name in anchors if name in ("forecast", "scaling", "rates", "batch", "ideas", "noise")] == [
        "forecast", "scaling", "rates", "batch", "ideas", "noise",
    ]  # fmt: skip
    assert {"forecast", "ideas"} < set(re.findall(r'<section id="([a-z]+)"', beside))
    assert {"forecast", "scaling_law", "rates_256", "ideas_512"} < results.figures.keys()
    # What the gate says of the machine, hours and dollars differs in a rebuild.
    gate = {check.name: check.message for check in gates[0].checks}
    assert gate["hours"] in beside
    assert gate["hours"] not in page
    assert gate["epochs"] in page
    assert "runs of the study" in beside


def test_an_experiment_with_a_study_reports_it() -> None:
    def inputs(experiment: Experiment) -> set[str]:
        return set(experiment_graph(experiment)["training_report"].inputs)

    tiny = open_experiment("tiny")
    of_study = {"noise_law", "rate_law", "batch_law", "scaling_law", "ablation_report", "forecast", "study_cost"}
    assert of_study < inputs(tiny)
    assert "launch_gate" not in inputs(tiny), "an overruled one would block the report"
    assert not of_study & inputs(tiny.model_copy(update={"study": None}))


def test_the_page_is_the_same_at_another_speed(changed: Callable[..., Job]) -> None:
    def page(**stages: dict[str, Any]) -> bytes:
        sealed = stages.pop("sealed", {})
        job = relaunched(changed(**stages), 0.8, **sealed)
        write_page(job, "page.html", "k", "t", "l", {section.__name__: section(job) for section in SECTIONS})
        return (job.out / "page.html").read_bytes()

    clocks = changed().inputs["ablation_report"].stats["clocks"]
    other = {
        "study_cost": {"hours": {"trunk": 77.0}, "dollars": 7.0},
        "sealed": {"hours": 99.0, "dollars": 9876.0, "preflight": "no"},
    }
    other["ablation_report"] = {"clocks": [{**row, "speed": 3.3, "memory": 4.4} for row in clocks]}
    assert page() == page(**other)


def test_the_best_mixture_is_told_beside_the_launched_one(
    study: dict[str, Artifact], changed: Callable[..., Job]
) -> None:
    section = mixtures(changed())
    assert "20 mixtures of the sources were tried. The best weights by the law: web" in words(section)
    assert "The launched weights have a loss that is higher by" in words(section)
    assert "For code, the best share may lie beyond those that were tried" in words(section)
    assert [row[0] for row in cells(section)] == ["web", "books", "code"]
    assert len(pictures_in(section.blocks)) == 2
    within = {**study["mixture_law"].stats["launched"], "low": -0.001}
    assert "within noise of them (difference of the loss: −0.10% to" in words(
        mixtures(changed(mixture_law={"launched": within}))
    )
    assert "reads other sources" in words(mixtures(changed(mixture_law={"launched": None})))
    assert "misses" not in words(mixtures(changed(mixture_law={"error": 0.0019, "noise": 0.001})))
    missed = words(mixtures(changed(mixture_law={"error": 0.005, "noise": 0.001})))
    assert "misses the held-out mixtures by 0.50%, 5.0 times the noise between seeds" in missed


def test_no_weights_are_told_where_the_runs_recommend_none(changed: Callable[..., Job]) -> None:
    section = mixtures(changed(mixture_law={"refusal": "these runs do not rank mixtures", "diverged": ["a"]}))
    assert "no mixture is recommended: these runs do not rank mixtures." in words(section)
    assert "1 run diverged" in words(section)
    assert section is not None
    assert not [block for block in section.blocks if isinstance(block, Table)]
    assert len(pictures_in(section.blocks)) == 1


def test_lineage_counts_the_runs_of_a_family(tmp_path: Path) -> None:
    stages = ("noise_law", "scaling_runs/a", "scaling_runs/b", "rate_runs/a")
    inputs = [{"role": stage, "stage": stage, "identity": "1" * 32, "content": "2" * 32} for stage in stages]
    law = artifact(tmp_path / "law", "study_report", {}, inputs=inputs)
    assert cells(lineage(job_of({"law": law}, tmp_path)))[0][2] == "noise_law, scaling_runs (2), rate_runs/a"
