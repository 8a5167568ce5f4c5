import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.report import facts
from llm_core.report.blocks import Facts, Tiles
from llm_core.report.sections import made, run
from llm_core.report.sections.cost import cost
from llm_core.report.training_report import build
from llm_core.store.manifest import Artifact, CheckRecord, GateRecord, Overrule
from tests.judged import judged
from tests.report.conftest import HOSTILE, artifact, cells, job_of, run_stats

VOID = {"meta", "img", "br", "hr", "link", "input", "path", "use", "rect", "circle"}
MakeJob = Callable[..., Job]


class Page(HTMLParser):
    """Tags with their attributes, the text by tag, and whether every element is closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@dataclass
class Built:
    """The report of the whole story, under a hostile title."""

    job: Job
    stats: dict[str, Any]
    html: str
    page: Page


@pytest.fixture(scope="module")
def built(told: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Built:
    job = job_of(told, tmp_path_factory.mktemp("report"))
    stats = build(job, HOSTILE, 0.0, {}).model_dump()
    html = (job.out / "report.html").read_text(encoding="utf-8")
    return Built(job, stats, html, Page(html))


def test_page_is_whole_and_loads_nothing(built: Built) -> None:
    assert built.page.open == []
    names = {name for name, _ in built.page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "base", "image"}
    for _, attributes in built.page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href", "action", "data", "srcset", "poster"):
                assert value
                assert value.startswith("#")
            else:
                assert "url(http" not in (value or "")
    anchors = {attributes["id"] for name, attributes in built.page.tags if name == "section"}
    links = [attributes["href"] for name, attributes in built.page.tags if name == "a"]
    assert {f"#{anchor}" for anchor in anchors} == set(links)
    assert {"results", "samples", "checks"} < anchors
    ids = [attributes["id"] for _, attributes in built.page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_style_sheet_loads_nothing(built: Built) -> None:
    style = built.html[built.html.index("<style>") + 7 : built.html.index("</style>")]
    assert "--ink" in style
    for forbidden in ("@import", "url(", "<"):
        assert forbidden not in style


def test_hostile_text_stays_text(built: Built) -> None:
    # Title twice, samples of three prompts, bad record, check message and a suite's group all carry it, word for word.
    assert built.page.text.count(HOSTILE) == 8


def test_figures_are_small_and_named_in_the_statistics(built: Built) -> None:
    figures = built.stats["figures"]
    assert {"loss", "learning_rate", "gradient_norm", "data_funnel", "bits_per_byte", "accuracy"} <= set(figures)
    for file in figures.values():
        assert 1000 < (built.job.out / file).stat().st_size < 60_000
    assert len([*built.job.out.glob("figures/*"), *built.job.out.glob("timing/*")]) == len(figures)
    (check,) = judged("training_report", built.stats)
    assert check.passed
    json.dumps(built.stats, allow_nan=False)


def test_figures_of_the_run_stand_on_the_page(built: Built) -> None:
    text = " ".join(built.page.text.replace("agreement", "agreement ").split())
    headline = ("1.672", "2.771", "2.821", "4.00M", "2.10M", "68.5%", "34.0%", "51.5%", "25.0%")
    # 18,204 raw, of which rules and duplicates took 2,802.
    funnel = ("18,204", "16,879", "1,325", "15,402", "1,477", "92.7%", "symbols per word", "exact duplicate")
    suites = (
        "zorro",
        "61.2%",
        "59.0%–63.4%",
        "50.0%",
        "agreement 58.7% (55.6%–61.7%)",
        "paradigms where there are any",
    )
    for expected in (*headline, *funnel, *suites, "1 of 9 checks failed"):
        assert expected in text, expected


def test_summary_and_headline_without_clock_times_repeat(built: Built, report_job: MakeJob) -> None:
    model = built.job.inputs["pretrained_model"]
    stats = run_stats(seconds_training=999.0)
    job = report_job(pretrained_model=artifact(model.path, "pretrained_model", stats, config=model.manifest.config))
    build(job, HOSTILE, 0.0, {})
    summary = (built.job.out / "summary.json").read_bytes()
    assert (job.out / "summary.json").read_bytes() == summary
    assert json.loads(summary)["bits_per_byte"] == 1.672


def test_cost_of_gpus(told: dict[str, Artifact], tmp_path: Path) -> None:
    model = told["pretrained_model"]
    stats = run_stats(ranks=8, device="NVIDIA H100 80GB HBM3", seconds_training=7200.0, mfu=0.412)
    inputs = {**told, "pretrained_model": artifact(model.path, "pretrained_model", stats, config=model.manifest.config)}
    priced = 2.5
    headline, job = facts.headline(inputs, priced), job_of(inputs, tmp_path)
    assert (headline["gpu_hours"], headline["cost_dollars"]) == (16.0, 40.0)
    section = cost(job, headline, priced)
    tiles = next(block for block in section.blocks if isinstance(block, Tiles))
    assert tiles.tiles[-1].value == "$40.00"
    assert cells(section)[-1][-2:] == ["16", "$40.00"]
    speed = next(block for block in run.speed(job).blocks if isinstance(block, Facts))
    assert {("Device", "8 × NVIDIA H100 80GB HBM3"), ("Model FLOPs utilisation", "41.2%")} < set(speed.rows)
    assert facts.headline(inputs, 0.0)["cost_dollars"] is None


def test_what_a_run_read(told: dict[str, Artifact]) -> None:
    model = told["pretrained_model"]
    config = model.manifest.config

    def facts(training: dict[str, Any], **stats: Any) -> dict[str, str]:
        changed = {**config, "training": {**config["training"], **training}}
        return dict(
            run.settings(
                {
                    **told,
                    "pretrained_model": artifact(model.path, "pretrained_model", run_stats(**stats), config=changed),
                }
            )
        )

    found = facts({})
    assert (found["Passes over the data"], found["Sequence length"]) == ("0.63", "256")
    assert not any(name.startswith("Padding") for name in found)
    sources = {
        "books": {"share": 0.25, "epochs": 3.5, "padding_share": 0.125},
        "web": {"share": 0.75, "epochs": 0.5, "padding_share": 0.5},
    }
    found = facts({"mixture": {"weights": {"books": 1.0, "web": 3.0}}, "packing": "pad"}, sources=sources)
    assert found["Passes over books"] == "3.50, 25.0% of the sequences"
    assert found["Padding, web"] == "50.0% of the batches"
    assert "Passes over the data" not in found
    growing = [{"from_step": 0, "batch_tokens": 4096}, {"from_step": 50, "batch_tokens": 8192}]
    assert facts({"batch_schedule": growing})["Tokens per step"] == "4,096, 8,192 from step 51"
    assert facts({"superposition": {"tokens": 4, "steps": 1000}})["Superposition"] == "bags of 4 tokens to step 1,000"
    phases = [{"from_step": 0, "sequence_length": 64}, {"from_step": 100, "sequence_length": 256}]
    assert facts({"sequence_schedule": phases})["Sequence length"] == "64, 256 from step 101"


def test_the_model_is_told_by_what_was_set(told: dict[str, Artifact]) -> None:
    model = told["pretrained_model"]
    plain = model.manifest.config["model"]
    mixer = {**plain["mixer"], "window": None}
    config = {**plain, "mixer": mixer, "multi_token": None, "pattern": [], "layers": [{"index": 0}]}
    changed = artifact(model.path, "pretrained_model", model.stats, config={**model.manifest.config, "model": config})
    assert run.model({**told, "pretrained_model": changed}) == run.model(told)
    assert {("d_model", "256"), ("mixer.kind", "attention"), ("mixer.position.theta", "10000.0")} < set(run.model(told))


def test_held_out_text_is_told_per_token_and_per_byte(told: dict[str, Artifact]) -> None:
    model = told["pretrained_model"]
    stats = {**model.stats, "final_validation_bits_per_byte": 1.03125}
    measured = artifact(model.path, "pretrained_model", stats, config=model.manifest.config)
    assert ("Validation, bits per byte, end", "1.0312") in run.settings({**told, "pretrained_model": measured})
    assert not any("bits per byte" in name for name, _ in run.settings(told)), "of runs before there was such a figure"


def test_what_went_on_from_the_run_stands_beside_it(
    report_job: MakeJob, told: dict[str, Artifact], tmp_path: Path
) -> None:
    stats = run_stats(steps=300, start_validation_loss=3.25, final_validation_loss=3.125)
    branch = artifact(tmp_path / "b", "cooldown_runs/short", stats, config=told["pretrained_model"].manifest.config)
    job = report_job(**{"cooldown_runs/short": branch})
    build(job, "tiny", 0.0, {})
    text = " ".join(Page((job.out / "report.html").read_text(encoding="utf-8").replace("<", " <")).text.split())
    assert "Runs that continue this run" in text
    assert "cooldown_runs/short 300 256 3.2500 3.1250" in text


def test_versions_that_differ_are_named_with_their_stages(told: dict[str, Artifact], tmp_path: Path) -> None:
    model = told["tokenizer"]
    inputs = {**told, "tokenizer": artifact(model.path, "tokenizer", model.stats, versions={"python": "3.12.0"})}

    def python(inputs: dict[str, Artifact]) -> str:
        (block,) = made.versions(job_of(inputs, tmp_path)).blocks
        assert isinstance(block, Facts)
        return dict(block.rows)["python"]

    assert python(inputs).endswith("3.12.0 (tokenizer)")
    assert python(told) == "3.11.9"


def test_metrics_that_are_damaged_are_told_of_and_not_drawn(report_job: MakeJob, tmp_path: Path) -> None:
    job = report_job()
    metrics = job.inputs["pretrained_model"].path / "metrics.jsonl"
    damaged = replace(job, damaged_files={"pretrained_model": {"metrics.jsonl": f"{metrics} is damaged"}})
    stats = build(damaged, "tiny", 0.0, {}).model_dump()
    assert not {"loss", "learning_rate", "gradient_norm", "tokens_per_second"} & set(stats["figures"])
    assert "accuracy" in stats["figures"]
    text = (job.out / "report.html").read_text(encoding="utf-8")
    assert "There are no curves: metrics.jsonl was found damaged" in text


def test_a_run_without_steps_is_an_error(report_job: MakeJob, told: dict[str, Artifact], tmp_path: Path) -> None:
    config = told["pretrained_model"].manifest.config
    empty = artifact(tmp_path / "empty", "pretrained_model", run_stats(), config=config)
    (empty.path / "metrics.jsonl").write_text("")
    with pytest.raises(PedigreeError, match="contains no step"):
        build(report_job(pretrained_model=empty), "tiny", 0.0, {})


def test_times_machines_and_versions_stand_on_the_page_beside_it(built: Built) -> None:
    html = (built.job.out / "made.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert not {name for name, _ in page.tags} & {"script", "img", "link", "iframe", "object", "embed", "base", "image"}
    text = " ".join(page.text.split())
    clocks = (
        "4 min 43 s",
        "no GPU",
        "CPU (x86_64)",
        "laptop",
        "2026-01-31 14:05 UTC",
        "3.11.9",
        "012345678",
    )
    for expected in clocks:
        assert expected in text, expected
        assert expected not in " ".join(built.page.text.split())


def test_the_page_beside_it_names_the_gate_of_a_run_and_who_overruled_it(tmp_path: Path) -> None:
    check = CheckRecord(name="half_width", passed=False, blocking=True, message="4.1% is above 3%")
    about = {"stage": "launch_gate", "identity": "a" * 32}
    signed = Overrule(kind="launch_gate", checks=[check], who="Ada", when="2026-01-31", why="the deadline", **about)
    times = {"made": "2026-01-30", "launched": "2026-01-31"}
    gate = GateRecord(
        content="b" * 32, results={}, checks=[check], passed="overruled", overrule=signed, **about, **times
    )
    run = artifact(tmp_path / "run", "pretrained_model", run_stats(), gates=[gate])
    plain = artifact(tmp_path / "plain", "pretrained_model", run_stats())
    sections = [made.made(Job("report", "c" * 32, {"run": one}, tmp_path, tmp_path)) for one in (run, plain)]
    ((asset, words),) = cells(sections[0], "Gates")
    assert asset == "pretrained_model"
    assert words.endswith("closed (half_width), overruled by Ada on 2026-01-31: the deadline")
    assert len(sections[1].blocks) == len(sections[0].blocks) - 1
