import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import markupsafe
import pytest

from llm_core.experiment.cleaning import RuleSpec
from llm_core.graph.job import Job
from llm_core.report import data_plots, facts
from llm_core.report.bars import FULL, HALF
from llm_core.report.blocks import Cards, Cell, Facts, Folded, Heading, pictures_in
from llm_core.report.data_report import build
from llm_core.report.sections.documents import funnel, overview
from llm_core.report.sections.dropped import drop_samples, dropped, rules_by_source
from llm_core.report.sections.texts import edit_samples
from llm_core.report.sections.tokens import tokens_table
from llm_core.store.manifest import Artifact
from tests.judged import judged
from tests.report.conftest import HOSTILE, artifact, job_of
from tests.report.data_story import CLEANING, counted, funnel_stats, story
from tests.report.test_training_report import Page


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return story(tmp_path_factory.mktemp("data_story"))


@pytest.fixture(scope="module")
def built(told: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, dict[str, Any], Page]:
    job = job_of(told, tmp_path_factory.mktemp("report"))
    stats = build(job, HOSTILE, CLEANING, {}).model_dump()
    return job, stats, Page((job.out / "data_report.html").read_text(encoding="utf-8"))


def test_page_is_whole_and_loads_nothing(built: tuple[Job, dict[str, Any], Page]) -> None:
    _, _, page = built
    assert page.open == []
    assert not {name for name, _ in page.tags} & {"script", "img", "link", "iframe", "object", "embed", "base", "image"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "action", "srcset")
            assert name != "href" or (value or "").startswith("#")
    anchors = {attributes["id"] for name, attributes in page.tags if name == "section"}
    assert anchors == {
        "overview", "funnel", "rules", "edits", "kept", "duplicates", "decontamination", "tokens", "lineage", "checks",
    }  # fmt: skip
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_text_stays_text(built: tuple[Job, dict[str, Any], Page]) -> None:
    _, _, page = built
    # Title twice, bad record, a rule's name (funnel, table, samples), a vocabulary; and in excerpts of every kind.
    assert page.text.count(HOSTILE) >= 10
    assert "{{ 7*7 }}" in page.text


def test_figures_of_the_stages_stand_on_the_page(built: tuple[Job, dict[str, Any], Page]) -> None:
    _, stats, page = built
    text = " ".join(page.text.split())
    for expected in (
        "17.5%",  # of 40 documents, the rules dropped 7
        "−5", "min words", "value 0.1235", "text that edits remove from documents", "−1.00 kB",
        "near duplicate", "Similarity 0.90", "suite zorro, item 17", "46,000", "and 1,", "77.8%", "100,277", "4.700",
        "Redacted emails3 in 2 documents", "Lines removed by words40, 1.00 kB", "40,000", "answered 95.0%",
        "Repeated lines or paragraphs removed9 in 4 documents, 700 B",
    ):  # fmt: skip
        assert expected in text, expected
    assert stats["drops"]["clean_documents"] == {"min_words": 5, HOSTILE: 2}
    assert stats["train_tokens_by_source"] == {"web": 7000, "gov": 2000}
    assert all(check.passed for check in judged("data_report", stats))
    json.dumps(stats, allow_nan=False)


def test_figures_are_small(built: tuple[Job, dict[str, Any], Page]) -> None:
    job, stats, _ = built
    assert set(stats["figures"]) == {
        "text_by_stage", "drops", "lengths", "languages", "cluster_sizes", "vocabularies",
    }  # fmt: skip
    for file in stats["figures"].values():
        assert 1000 < (job.out / file).stat().st_size < 60_000


def test_a_figure_without_its_neighbour_is_as_wide_as_the_page(told: dict[str, Artifact], tmp_path: Path) -> None:
    clean = told["clean_documents"]

    def widths(**changes: dict[str, int]) -> dict[str, float]:
        inputs = {**told, "clean_documents": artifact(clean.path, "clean_documents", {**clean.stats, **changes})}
        pictures = pictures_in(overview(job_of(inputs, tmp_path)).blocks)
        return {picture.name: picture.width for picture in pictures if picture.name in ("lengths", "languages")}

    assert widths() == {"lengths": HALF, "languages": HALF}
    assert widths(languages={}) == {"lengths": FULL}
    assert widths(lengths={}) == {"languages": FULL}


def test_counts_have_whole_ticks() -> None:
    picture = data_plots.histogram("sizes", "c", [("clusters", {"1": 2})], "documents", "clusters")
    labels = re.findall(r">([^<>]+)</text>", picture.svg)
    assert "1" in labels
    assert not any("." in label for label in labels)


def test_differences_of_a_pair_are_marked(built: tuple[Job, dict[str, Any], Page]) -> None:
    _, _, page = built
    assert sum(name == "mark" for name, _ in page.tags) >= 2
    assert "old mill" in page.text
    assert "new mill" in page.text


def test_the_same_again(built: tuple[Job, dict[str, Any], Page], told: dict[str, Artifact], tmp_path: Path) -> None:
    _, stats, page = built
    again = job_of(told, tmp_path)
    assert build(again, HOSTILE, CLEANING, {}).model_dump() == stats
    assert Page((again.out / "data_report.html").read_text(encoding="utf-8")).text == page.text


def test_rules_by_source_have_counts_and_bytes(told: dict[str, Artifact]) -> None:
    table = rules_by_source(told)
    assert table is not None
    assert list(table.columns) == ["Stage or rule", "All", "gov", "web"]
    rows = {
        name.text: (style, *((cell.text, cell.more, cell.marked) for cell in cells))
        for style, (name, *cells) in table.lines()
    }
    nothing = ("–", "", False)
    assert rows["min words"] == ("drop", ("5", "5.00 kB", False), nothing, ("16.7%", "5 · 5.00 kB", True))
    assert rows["clean documents"] == (
        "level",
        ("33", "33.0 kB", False),
        ("80.0%", "8 · 8.00 kB", False),
        ("83.3%", "25 · 25.0 kB", False),
    )
    assert rows["near duplicate"][2:] == (nothing, ("12.0%", "3 · 3.00 kB", False)), "the check is of cleaning alone"
    assert "split documents" not in rows, "nothing was dropped there"


def cards(rule: Folded) -> dict[str, list[str]]:
    """Heading → what is said of the samples below it."""
    pairs = zip(rule.blocks[::2], rule.blocks[1::2], strict=True)
    return {
        heading.text: [card.said for card in below.cards]
        for heading, below in pairs
        if isinstance(heading, Heading) and isinstance(below, Cards)
    }


def test_rules_have_their_bounds_drops_and_near_misses(told: dict[str, Artifact]) -> None:
    rules = {item.summary: item for item in drop_samples(told, CLEANING)}
    stages = [item.aside.split(":")[0] for item in rules.values()]
    assert stages == ["clean"] * 3 + ["unique", "decontaminated"]
    assert rules["min words"].aside == "clean: 5; stays: at least 3"
    samples = cards(rules["min words"])
    assert len(samples["Dropped"]) == 5
    assert samples["Near misses"] == [f"value {value}" for value in range(3, 13)]
    assert rules["mean word length"].aside == "clean: none; stays: 3 to 10"
    assert cards(rules["mean word length"]) == {"Near misses": ["value 9.75", "value 3.5"]}, "the nearest bound first"
    assert "curly brackets" not in rules, "of what is not allowed at all there can be no little less"
    assert (rules[HOSTILE].aside, list(cards(rules[HOSTILE]))) == ("clean: 2", ["Dropped"])


def test_quality_shows_its_bound_scores_and_near_misses(told: dict[str, Artifact], tmp_path: Path) -> None:
    near = {"rule": "quality", "bound": "min", "value": 0.41, "doc_id": "d", "source": "web", "excerpt": HOSTILE}
    (tmp_path / "near_misses.jsonl").write_text(json.dumps(near) + "\n")
    stats = {
        **funnel_stats(gov=counted(8, {}), web=counted(25, {})), "bound": 0.4,
        "scores": {"gov": [0] * 9 + [8], "web": [0] * 4 + [25] + [0] * 5},
    }  # fmt: skip
    learned = {"examples": {"good": 300, "rest": 299}, "auc": 0.9876, "accuracy": 0.9, "kept_of_good": 0.85}
    inputs = {
        **told,
        "judged_documents": artifact(tmp_path, "judged_documents", stats),
        "quality_classifier": artifact(tmp_path / "model", "quality_classifier", learned),
    }
    rules = {item.summary: item for item in drop_samples(inputs, CLEANING)}
    assert rules["quality"].aside.endswith("stays: at least 0.4")
    assert cards(rules["quality"])["Near misses"] == ["value 0.41"]
    job = job_of(inputs, tmp_path)
    pictures = pictures_in(dropped(job, CLEANING).blocks)
    assert "stays: at least 0.4" in next(picture.svg for picture in pictures if picture.name == "scores")
    assert "scores" in build(job, "tiny", CLEANING, {}).figures
    html = (job.out / "data_report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    text = Page(html).text
    for expected in ("Examples, rest299", "AUC on held-out examples0.988", "reach the bound85.0%"):
        assert expected in text, expected


def test_of_many_sources_the_largest_and_those_with_the_most_drops_have_a_column(told: dict[str, Artifact]) -> None:
    names = [f"source{number:03d}" for number in range(200)]
    flow = {
        name: counted(40 if number < 6 else 20, {"min_words": 20 if number == 150 else 1 + (number in (7, 90))})
        for number, name in enumerate(names)
    }
    inputs = {
        "raw_documents": artifact(told["raw_documents"].path, "raw_documents", {
            "documents_by_source": {name: flow[name]["documents_in"] for name in names},
            "bytes_by_source": {name: flow[name]["bytes_in"] for name in names},
        }),
        "clean_documents": artifact(told["clean_documents"].path, "clean_documents", funnel_stats(**flow)),
    }  # fmt: skip
    table = rules_by_source(inputs)
    assert table is not None
    own = [*names[:6], "source006", "source007", "source008", "source009", "source090", "source150"]
    assert list(table.columns[2:]) == [*own, "188 others"]
    (_, (_, total, *drops)), (_, (_, _, *left)) = table.lines()
    assert drops[own.index("source150")] == Cell("100.0%", more="20 · 20.0 kB", marked=True)
    assert left[own.index("source150")] == Cell("0%"), "nothing is left"
    assert drops[-1] == Cell("5.0%", more="188 · 188 kB")
    counts = [int((cell.more or "0 ").split(" ")[0].replace(",", "")) for cell in drops]
    assert sum(counts) == int(total.text), "the columns are all of it"


def test_of_many_sources_the_smallest_share_a_row_of_tokens(told: dict[str, Artifact], tmp_path: Path) -> None:
    shards = [{"source": f"s{number}", "tokens": 1000 - number, "documents": 10} for number in range(100)]
    (tmp_path / "shards.json").write_text(json.dumps({"splits": {"train": {"shards": shards}}}))
    inputs = {**told, "token_shards": artifact(tmp_path, "token_shards", {})}
    rows = tokens_table(inputs).lines()
    assert len(rows) == 26
    assert [cell.text for cell in rows[-1][1]] == ["75 others", "70.3k", "74.0%", "750", "94"]


def test_edits_of_every_stage_and_kind_are_shown(told: dict[str, Artifact], tmp_path: Path) -> None:
    inputs = dict(told)
    for stage, kind in (("clean_documents", "repair"), ("unique_documents", "repeated_units")):
        row = {"kind": kind, "doc_id": "d", "source": "web", "pieces": [{"text": HOSTILE, "change": "del"}]}
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "edits.jsonl").write_text(json.dumps(row) + "\n")
        inputs[stage] = artifact(tmp_path / stage, stage, {**told[stage].stats, "repaired": 7})
    found = [(item.summary, item.aside) for item in edit_samples(inputs)]
    assert found == [("repair", "7 documents"), ("repeated units", "9 in 4 documents")]
    *_, edits = funnel(job_of(inputs, tmp_path)).blocks
    assert isinstance(edits, Facts)
    assert ("Documents repaired", "7") in edits.rows


def test_long_names_leave_room_for_the_figure() -> None:
    rows = [("raw", {"W" * 60 + str(number): 100 for number in range(9)})]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the layout gives up with one
        svg = data_plots.by_source(rows).svg
    assert "W" * 40 not in svg
    assert "W…W" in svg


def test_another_bound_is_shown_as_it_is_now(told: dict[str, Artifact]) -> None:
    cleaning = CLEANING.model_copy(update={"rules": {**CLEANING.rules, "min_words": RuleSpec(min=1, max=12)}})
    rules = {item.summary: item.aside for item in drop_samples(told, cleaning)}
    assert rules["min words"] == "clean: 5; stays: 1 to 12"


def test_edits_are_marked_and_escaped(built: tuple[Job, dict[str, Any], Page]) -> None:
    job, _, page = built
    html = (job.out / "data_report.html").read_text(encoding="utf-8")
    hostile = str(markupsafe.escape(HOSTILE))
    assert f"…ask <del>{hostile}</del><ins>email@example.com</ins> or {hostile}</div>" in html
    assert "before\n<del>&lt;/del&gt;⟨U+200B⟩ short</del>\nafter</div>" in html
    assert sum(name == "del" for name, _ in page.tags) == 3  # and one that explains
    assert "<mark>16.7%</mark>" in html
    assert "more than 10.0% of a source" in page.text
    assert not any("open" in attributes for name, attributes in page.tags if name == "details")


def shards_of(shards: Artifact, folder: Path, **documents: int) -> Artifact:
    """Shards with other counts of documents."""
    index = json.loads((shards.path / "shards.json").read_text())
    for split, count in documents.items():
        index["splits"][split]["documents"] = count
    folder.mkdir()
    (folder / "shards.json").write_text(json.dumps(index))
    return artifact(folder, "token_shards", shards.stats)


def test_documents_that_no_shard_holds_are_told(told: dict[str, Artifact], tmp_path: Path) -> None:
    assert facts.unaccounted(told) == []
    shards = shards_of(told["token_shards"], tmp_path / "shards", train=27)
    lost = facts.unaccounted({**told, "token_shards": shards})
    assert lost == ["token_shards, train: 28 came, 27 are in the shards"]


def test_without_what_is_optional(told: dict[str, Artifact], tmp_path: Path) -> None:
    clean, unique, split = (told[name] for name in ("clean_documents", "unique_documents", "pretraining_documents"))
    bare = Path(shutil.copytree(clean.path, tmp_path / "clean"))
    (bare / "edits.jsonl").write_text("")
    stats = {**clean.stats, **{name: {} for name in ("lines", "redactions", "lengths", "languages")}}
    more = {**split.stats, **funnel_stats(gov=counted(8, {}), web=counted(22, {})), "train_documents": 29}
    inputs = {
        **told,
        "clean_documents": artifact(bare, "clean_documents", stats),
        "unique_documents": artifact(unique.path, "unique_documents", {**unique.stats, "clusters": 0}),
        "pretraining_documents": artifact(split.path, "pretraining_documents", more),
        "decontaminated_documents": None,
        "token_shards": shards_of(told["token_shards"], tmp_path / "shards", train=29),
    }
    job = job_of(inputs, tmp_path)
    found = build(job, "tiny", CLEANING, {}).model_dump()
    assert set(found["figures"]) == {"text_by_stage", "drops", "vocabularies"}
    text = Page((job.out / "data_report.html").read_text(encoding="utf-8")).text
    assert "Near duplicates" not in text
    assert "What was edited" not in text
    assert "Decontamination" not in text
    assert found["unaccounted"] == []


def test_a_lost_document_is_told(told: dict[str, Artifact]) -> None:
    unique = told["unique_documents"]
    funnel = json.loads(json.dumps(unique.stats["funnel"]))
    funnel["web"]["documents"] -= 1
    lost = facts.unaccounted(
        {**told, "unique_documents": artifact(unique.path, "unique_documents", {"funnel": funnel})}
    )
    assert lost == [
        "unique_documents, web: 25 came, 25 were read, 21 stayed, 3 were dropped",
        "decontaminated_documents, web: 21 came, 22 were read, 21 stayed, 1 were dropped",
    ]
    del funnel["gov"]
    funnel["web"]["documents"] += 1
    lost = facts.unaccounted(
        {**told, "unique_documents": artifact(unique.path, "unique_documents", {"funnel": funnel})}
    )
    assert lost[0] == "unique_documents, gov: 8 came, none was read"
    failed = [check.name for check in judged("data_report", {"unaccounted": lost, "figures": {}, "page_bytes": 1})
              if not check.passed]  # fmt: skip
    assert failed == ["all_accounted_for", "page_written"]
