import gzip
import json
import random

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from assets.graph import experiment_graph
from llm_core.data.cleaning_samples import NEAR_MISSES, SHOWN
from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.quality import classifier, judged
from llm_core.data.quality.labelled import labelled_file
from llm_core.data.quality.model import Classifier, area_under_curve, bound_of_share
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.experiment.load import load_experiment
from llm_core.experiment.quality import QualitySpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.graph import Graph
from llm_core.graph.job import Job, Runtime
from llm_core.graph.part import InputFile
from llm_core.store.store import Store
from pipelines.experiments import experiment_file
from pipelines.planner import open_planner
from tests.data.stages import artifact, digests, documents, read, run, write
from tests.judged import judged as judged_checks

LEARNED = ["theorem", "proof", "lemma", "energy", "cell", "nucleus", "orbit", "vector", "matrix", "enzyme"]
SHOP = ["buy", "cheap", "now", "click", "offer", "deal", "discount", "shipping", "cart", "brand"]
COMMON = ["the", "of", "and", "to", "in", "a", "is", "that", "it", "was", "for", "on", "are", "with", "as"]


def texts(words, count, seed):
    """``count`` different texts of 40 words: half of them from ``words``, half of them common."""
    draw = random.Random(seed)
    return [
        " ".join(draw.choice(words if draw.random() < 0.5 else COMMON) for _ in range(40)) + f" {seed} {number}"
        for number in range(count)
    ]


def jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return str(path)


def corpus(path, found):
    return {"paths": [jsonl(path, [{"text": text} for text in found])]}


def spec(**fields):
    fields = {"classifier": {"bits": 14}, **fields}
    return QualitySpec.model_validate_json(json.dumps(fields))


@pytest.fixture
def good(tmp_path):
    return corpus(tmp_path / "good.jsonl.gz", texts(LEARNED, 300, 1))


@pytest.fixture
def rest(tmp_path):
    return corpus(tmp_path / "any.jsonl", texts(SHOP, 300, 2))


@pytest.fixture
def clean(tmp_path):
    """300 good documents among 1,000, in two parts."""
    mixed = [*texts(LEARNED, 300, 3), *texts(SHOP, 700, 4)]
    random.Random(5).shuffle(mixed)
    return write(tmp_path / "clean", documents(mixed[:600], origin="a"), documents(mixed[600:], origin="b"))


def trained(work, quality, clean=None, cleaning=None):
    inputs = {"documents": clean} if quality.samples_documents else {}
    stats = run(classifier.build, work, inputs, quality=quality, cleaning=cleaning or CleaningSpec())
    return stats, work / "out"


def is_learned(text):
    return any(word in LEARNED for word in text.split())


def test_two_vocabularies_are_told_apart_and_the_drops_hold_their_score(tmp_path, good, rest, clean):
    stats, model = trained(tmp_path / "train", spec(good=good, any=rest, min_score=0.5))
    assert (stats["auc"], stats["accuracy"], stats["bound"]) == (1.0, 1.0, 0.5)
    assert stats["examples"] == {"good": 300, "rest": 300}
    assert 30 < sum(stats["held_out"].values()) < 100
    assert all(check.passed for check in judged_checks("quality_classifier", stats))

    told = run(judged.build, tmp_path / "judge", {"documents": clean, "classifier": model})
    out = tmp_path / "judge" / "out"
    kept, dropped = read(out / "parts"), read(out / "dropped")
    near = [json.loads(line) for line in (out / NEAR_MISSES).read_text().splitlines()]
    bias = json.loads((model / "quality.json").read_text())["bias"]
    scores = Classifier.load(model / "weights.npy", bias).scores(kept["text"])
    assert [row["value"] for row in near] == sorted(scores)[:SHOWN]
    assert {(row["rule"], row["bound"]) for row in near} == {("quality", "min")}
    assert not (out / "samples").exists()
    assert dict(kept.schema) == DOCUMENT
    assert (kept.height, dropped.height) == (300, 700)
    assert all(map(is_learned, kept["text"]))
    assert not any(map(is_learned, dropped["text"]))
    assert set(dropped["rule"]) == {"quality"}
    assert 0 < dropped["value"].min() <= dropped["value"].max() < 0.5
    assert told["dropped_by_rule"] == {"quality": 700}
    assert told["funnel"]["made"]["dropped"]["quality"]["documents"] == 700
    sizes = told["funnel"]["made"]
    assert sizes["bytes"] + sizes["dropped"]["quality"]["bytes"] == sizes["bytes_in"]
    assert (sum(told["scores"]["made"]), sum(told["scores"]["made"][:5])) == (1000, 700)
    checks = {check.name: check for check in judged_checks("judged_documents", told)}
    assert checks["not_empty"].passed
    assert not checks["kept_share"].passed  # 70% dropped, above checks.max_drop_share
    assert judged_checks("judged_documents", told, max_drop_share=0.7)[1].passed


def test_files_of_a_folder_of_examples_that_are_not_read_are_told(tmp_path, rest):
    jsonl(tmp_path / "folder" / "good.jsonl", [{"text": text} for text in texts(LEARNED, 30, 1)])
    (tmp_path / "folder" / "more.pdf").touch()
    quality, lines = spec(good={"paths": [str(tmp_path / "folder")]}, any=rest, min_score=0.5), []
    out = tmp_path / "work" / "out"
    out.mkdir(parents=True)
    runtime = Runtime(compute=ComputeSpec(workers=1), log=lines.append)
    classifier.build(Job("quality_classifier", "identity", {}, out.parent, out, runtime), quality, CleaningSpec())
    assert [line for line in lines if line.startswith("warning: quality_classifier: quality.good: ")] == lines[:1]
    assert "1 files of its folders were not read" in lines[0]
    assert "more.pdf" in lines[0]


def test_tiny_shares_and_bounds_are_told_as_they_are():
    stats = {"documents": 4, "documents_in": 4, "kept_share": 1.0, "bound": 0.99998}
    by_share, by_score = (
        judged_checks("judged_documents", {**stats, "keep_share": share})[1].message for share in (0.0001, None)
    )
    assert "the bound 0.99998 was set to keep 0.01%" in by_share
    assert by_score.endswith("reach the score 0.99998")


def test_the_bound_by_share_keeps_about_that_share_of_the_own_documents(tmp_path, good, clean):
    for share in (0.1, 0.3, 0.6):
        work = tmp_path / str(share)
        stats, model = trained(work / "train", spec(good=good, keep_share=share), clean)
        assert stats["judged"] == stats["held_out"]["rest"]
        assert stats["kept_of_judged"] == pytest.approx(share, abs=0.01)
        told = run(judged.build, work / "judge", {"documents": clean, "classifier": model})
        assert told["kept_share"] == pytest.approx(share, abs=0.1)
        assert judged_checks("judged_documents", told)[1].passed


def test_labelled_examples_by_label_and_by_number(tmp_path, clean):
    rows = [{"body": text, "kind": "yes", "mark": 4} for text in texts(LEARNED, 120, 1)]
    rows += [{"body": text, "kind": "no", "mark": 2.5} for text in texts(SHOP, 120, 2)]
    path = jsonl(tmp_path / "labelled.jsonl.gz", rows)
    fields = {"path": path, "text_field": "body"}
    by_label = spec(labelled={**fields, "label_field": "kind", "good_labels": ["yes"]}, min_score=0.5)
    by_number = spec(labelled={**fields, "label_field": "mark", "min_label": 3}, min_score=0.5)
    _, first = trained(tmp_path / "a", by_label)
    _, second = trained(tmp_path / "b", by_number)
    assert digests(first) == digests(second)

    assert not by_label.samples_documents
    by_share = spec(labelled={**fields, "label_field": "kind", "good_labels": ["yes"]}, keep_share=0.3)
    stats, third = trained(tmp_path / "c", by_share, clean)
    assert (stats["judged"], stats["auc"]) == (1000, 1.0)
    assert stats["kept_of_judged"] == pytest.approx(0.3, abs=0.001)
    assert digests(third)["weights.npy"] == digests(first)["weights.npy"]


def test_trained_twice_it_is_the_same_bytes_whatever_the_order_of_the_examples(tmp_path, good, rest):
    _, first = trained(tmp_path / "a", spec(good=good, any=rest, keep_share=0.3))
    backwards = corpus(tmp_path / "other" / "good.jsonl", texts(LEARNED, 300, 1)[::-1])
    _, second = trained(tmp_path / "b", spec(good=backwards, any=rest, keep_share=0.3))
    assert set(digests(first)) == {"weights.npy", "quality.json", "examples.parquet"}
    assert digests(first) == digests(second)


def test_examples_are_cleaned_as_documents_are(tmp_path, good, rest):
    cleaning = CleaningSpec(rules={"min_words": RuleSpec(min=1000)})
    with pytest.raises(PedigreeError, match="after cleaning, 0 distinct good texts remain of the examples"):
        trained(tmp_path / "train", spec(good=good, any=rest, min_score=0.5), cleaning=cleaning)


def test_one_class_is_no_classifier(tmp_path, good):
    rows = [{"text": text, "label": "good"} for text in texts(LEARNED, 100, 1)]
    path = jsonl(tmp_path / "labelled.jsonl", rows)
    with pytest.raises(PedigreeError, match="0 distinct other texts remain"):
        trained(tmp_path / "train", spec(labelled={"path": path, "good_labels": ["good"]}, min_score=0.5))
    with pytest.raises(PedigreeError, match="texts are in both classes"):  # what is good is nothing else too
        trained(tmp_path / "same", spec(good=good, any=good, min_score=0.5))


def test_few_examples_close_the_gate(tmp_path, good):
    few = corpus(tmp_path / "few.jsonl", texts(SHOP, 80, 2))
    stats, _ = trained(tmp_path / "train", spec(good=good, any=few, min_score=0.5))
    check, _ = judged_checks("quality_classifier", stats)
    assert not check.passed
    assert check.message == "80 examples of the class 'rest'; at least 200 must be there"


def test_a_classifier_by_chance_is_told(tmp_path):
    halves = texts(SHOP, 600, 1)
    one = corpus(tmp_path / "one.jsonl", halves[::2])
    stats, _ = trained(
        tmp_path / "train", spec(good=one, any=corpus(tmp_path / "two.jsonl", halves[1::2]), min_score=0.5)
    )
    check = judged_checks("quality_classifier", stats)[1]
    assert (check.name, check.passed) == ("auc", False)
    assert stats["auc"] < 0.7


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": "a b"}, r"line 1: there is no field 'label', only 'text'; .*quality\.labelled\.label_field"),
        ({"body": "a b", "label": "x"}, r"there is no field 'text', .*quality\.labelled\.text_field"),
        ({"text": "a b", "label": 3}, r"the field 'label' should be a string, .*\(it is 3\)"),
        ({"text": "a b", "label": None}, r"the field 'label' should be a string"),
        ({"text": 7, "label": "x"}, r"the field 'text' should be a text \(it is 7\)"),
        ({"text": " ", "label": "x"}, r"the field 'text' is no document: empty text"),
        (["text"], r"not an object but list"),
    ],
)
def test_a_record_that_is_no_example_is_told_before_any_work(tmp_path, row, problem):
    path = jsonl(tmp_path / "labelled.jsonl", [row])
    quality = spec(labelled={"path": path, "good_labels": ["x"]}, min_score=0.5)
    with pytest.raises(PedigreeError, match=problem):
        classifier.source_digests(quality, CleaningSpec())


def test_a_number_that_is_none(tmp_path):
    path = jsonl(tmp_path / "labelled.jsonl", [{"text": "a", "label": True}])
    quality = spec(labelled={"path": path, "min_label": 1}, min_score=0.5)
    with pytest.raises(PedigreeError, match=r"should be a number, .*\(it is True\)"):
        classifier.source_digests(quality, CleaningSpec())


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("gone.jsonl", None, r"there is no file .*gone\.jsonl"),
        ("labelled.csv", b"a,b\n", r"labelled\.csv: quality\.labelled is no \.jsonl"),
        ("empty.jsonl", b"\n", r"empty\.jsonl: has no example"),
        ("broken.jsonl", b"{", r"broken\.jsonl: line 1: not JSON"),
        ("plain.jsonl.zst", b"{}", r"plain\.jsonl\.zst: its content is not packed as its name says"),
        (
            "cut.jsonl.gz",
            gzip.compress(b'{"text": "a", "label": "x"}\n' * 9, mtime=0)[:20],
            r"cut\.jsonl\.gz: damaged at byte",
        ),
    ],
)
def test_a_file_that_holds_no_examples(tmp_path, name, content, problem):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    quality = spec(labelled={"path": str(tmp_path / name), "good_labels": ["x"]}, min_score=0.5)
    with pytest.raises(PedigreeError, match=problem):
        labelled_file(quality.labelled)


def test_a_corpus_that_is_missing(tmp_path):
    quality = spec(good={"paths": [str(tmp_path / "gone.jsonl")]}, keep_share=0.3)
    with pytest.raises(PedigreeError, match=r"quality\.good: .*no file matches .*gone\.jsonl"):
        classifier.source_digests(quality, CleaningSpec())


def test_examples_from_a_source_of_another_kind():
    quality = spec(good={"kind": "python_docs", "max_bytes": 1000}, keep_share=0.3)
    assert "good/python" in classifier.source_digests(quality, CleaningSpec())
    hub = {"kind": "hugging_face", "repo": "a/b", "revision": "main", "files": ["*"], "local_folder": "/nowhere"}
    with pytest.raises(PedigreeError, match=r"quality\.any: source 'hugging_face': revision 'main' is no commit"):
        classifier.source_digests(
            spec(good=FILES, any=hub, keep_share=0.3).model_copy(update={"good": None}), CleaningSpec()
        )


FILES = {"paths": ["a.jsonl"]}
LABELLED = {"path": "a.jsonl", "good_labels": ["x"]}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"good": FILES}, "give 'keep_share' or 'min_score'"),
        ({"good": FILES, "keep_share": 0.3, "min_score": 0.5}, "give 'keep_share' or 'min_score', and not both"),
        ({"good": FILES, "keep_share": 1.0}, "less than 1"),
        ({"good": FILES, "keep_share": 0.0}, "greater than 0"),
        ({"good": FILES, "min_score": 1.5}, "less than 1"),
        ({"keep_share": 0.3}, "give 'good' .* or 'labelled'"),
        ({"good": FILES, "labelled": LABELLED, "keep_share": 0.3}, "and not both"),
        ({"labelled": LABELLED, "any": FILES, "keep_share": 0.3}, "remove 'any'"),
        ({"good": "a.jsonl", "keep_share": 0.3}, "unknown source 'a.jsonl'; known: files, "),
        ({"good": FILES, "any": ["a.jsonl"], "keep_share": 0.3}, "give the name of a source, or a mapping"),
        (
            {"good": {"kind": "hugging_face", "repo": "a/b"}, "keep_share": 0.3},
            "revision: Field required",
        ),
        (
            {"good": {"paths": ["hf://a/b.parquet"]}, "keep_share": 0.3},
            "paths of local files are allowed here, no URLs",
        ),
        ({"good": FILES, "keep_share": 0.3, "classifier": {"learning_rate": 11}}, "less than or equal to 10"),
        ({"labelled": {"path": "a"}, "keep_share": 0.3}, "give 'good_labels' .* or 'min_label'"),
        ({"labelled": {**LABELLED, "min_label": 1}, "keep_share": 0.3}, "give 'good_labels' .* or 'min_label'"),
    ],
)
def test_contradictions(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        spec(**fields)


def test_a_part_is_judged_by_its_own_documents_and_the_classifier(tmp_path, good, rest, clean):
    _, model = trained(tmp_path / "a", spec(good=good, any=rest, keep_share=0.3))

    def tasks(model):
        both = {"documents": clean, "classifier": model}
        inputs = {
            role: [InputFile(file.path, path / file.path, file.xxh3) for file in artifact(path).manifest.files]
            for role, path in both.items()
        }
        return judged.parts(inputs)

    before = [task.key("") for task in tasks(model)]
    assert len(before) == 2
    write(clean, documents(texts(SHOP, 9, 8), origin="a"))  # another first part, in its place
    after = [task.key("") for task in tasks(model)]
    assert after[0] != before[0]
    assert after[1] == before[1]
    jsonl(tmp_path / "any.jsonl", [{"text": text} for text in texts(SHOP, 300, 9)])
    _, other = trained(tmp_path / "b", spec(good=good, any=rest, keep_share=0.3))
    assert digests(other)["weights.npy"] != digests(model)["weights.npy"]
    assert not set(before) & {task.key("") for task in tasks(other)}
    assert judged.parts({"documents": [], "classifier": []}) == []


def test_another_bound_trains_nothing_again(tmp_path, good, rest):
    keys = {}
    for share in (0.3, 0.4):
        work = tmp_path / str(share)
        trained(work, spec(good=good, any=rest, keep_share=share))
        keys[share] = sorted(path.name for path in (work / "parts").glob("*/*"))
    assert len(keys[0.3]) == 5  # both corpora read and cleaned, and the classifier
    assert keys[0.3] == keys[0.4]


def test_nothing_dropped_leaves_the_file_as_it_is(tmp_path, good, rest):
    _, model = trained(tmp_path / "train", spec(good=good, any=rest, min_score=0.001))
    clean = write(tmp_path / "clean", documents(texts(LEARNED, 9, 6)))
    run(judged.build, tmp_path / "judge", {"documents": clean, "classifier": model})
    out = tmp_path / "judge" / "out"
    assert digests(out / "parts") == digests(clean / "parts")
    assert read(out / "dropped").height == 0


def test_scores_do_not_depend_on_the_batch_or_on_repetition(monkeypatch, tmp_path, good, rest):
    _, out = trained(tmp_path / "train", spec(good=good, any=rest, min_score=0.5))
    model = Classifier.load(out / "weights.npy", json.loads((out / "quality.json").read_text())["bias"])
    found = pl.Series("text", [*texts(LEARNED, 5, 7), "", "buy", *texts(SHOP, 5, 7)])
    whole = model.scores(found)
    monkeypatch.setattr("llm_core.data.quality.model._BATCH_BYTES", 100)
    assert np.array_equal(model.scores(found), whole)
    assert np.array_equal([model.scores(found[place : place + 1])[0] for place in range(len(found))], whole)
    once, often = model.scores(pl.Series(["buy cheap buy buy", "buy cheap buy buy" + " buy" * 1000]))
    assert once == often
    assert len(model.scores(pl.Series([], dtype=pl.String))) == 0


def test_figures():
    assert area_under_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1])) == 0.875
    found = np.arange(10) / 10
    assert [bound_of_share(found, share) for share in (0.3, 0.01, 0.99)] == [0.7, 0.9, 0.0]


def graph(quality) -> Graph:
    return experiment_graph(load_experiment(experiment_file("tiny")).model_copy(update={"quality": quality}))


def test_the_stages_are_there_only_where_they_are_asked_for(tmp_path, good, rest):
    without, own, files = (
        graph(None),
        graph(spec(good=good, keep_share=0.3)),
        graph(spec(good=good, any=rest, keep_share=0.3)),
    )
    assert "judged_documents" not in without
    assert own["quality_classifier"].inputs == {"documents": "clean_documents"}
    assert files["quality_classifier"].inputs == {}
    assert files["unique_documents"].inputs == {"documents": "judged_documents"}
    for report in ("data_report", "training_report"):
        assert list(files[report].inputs)[1:5] == [
            "clean_documents", "quality_classifier", "judged_documents", "unique_documents",
        ]  # fmt: skip
    planners = [open_planner(found, Store(tmp_path / "store")) for found in (without, files)]
    for stage in ("clean_documents", "unique_documents", "pretraining_documents", "token_shards"):
        assert len({planner.recipe(stage).identity({}) for planner in planners}) == 1


def test_the_plan_names_the_files_by_the_fields_of_the_experiment(good, rest):
    found = classifier.source_digests(spec(good=good, any=rest, keep_share=0.3), CleaningSpec())
    assert sorted(found) == ["any/any.jsonl", "good/good.jsonl.gz"]


def test_other_examples_or_another_cleaning_are_another_classifier(tmp_path, good, rest):
    quality = spec(good=good, any=rest, keep_share=0.3)

    def identity(cleaning):
        experiment = load_experiment(experiment_file("tiny")).model_copy(
            update={"quality": quality, "cleaning": cleaning}
        )
        return (
            open_planner(experiment_graph(experiment), Store(tmp_path / "store"))
            .recipe("quality_classifier")
            .identity({})
        )

    first = identity(CleaningSpec())
    assert identity(CleaningSpec()) == first
    assert identity(CleaningSpec(uncased=True)) != first
    jsonl(tmp_path / "any.jsonl", [{"text": text} for text in texts(SHOP, 300, 9)])
    assert identity(CleaningSpec()) != first


def test_relative_paths_start_at_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"extends: {experiment_file('tiny')}\n"
        "quality: {good: {paths: [books/*.jsonl]}, any: {paths: [web.jsonl]}, keep_share: 0.3}\n"
    )
    quality = load_experiment(path).quality
    assert quality is not None
    assert quality.good.paths == (f"{tmp_path}/books/*.jsonl",)
    assert quality.any.paths == (f"{tmp_path}/web.jsonl",)
    path.write_text(
        f"extends: {experiment_file('tiny')}\n"
        "quality: {labelled: {path: marks.jsonl, min_label: 3}, min_score: 0.5}\n"
    )
    quality = load_experiment(path).quality
    assert quality is not None
    assert quality.labelled.path == f"{tmp_path}/marks.jsonl"
