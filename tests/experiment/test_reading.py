"""What a source says about its records: conditions and templates are checked before any work."""

import pytest

from llm_core.data.sources.files.spec import FilesSource
from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.conditions import Condition, parsed_condition
from llm_core.experiment.load import load_experiment
from llm_core.experiment.templates import Template, parsed_template


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" int_score >= 3 ", ("int_score", ">=", 3, "number")),
        ("a.b<-1.5", ("a.b", "<", -1.5, "number")),
        ('language == "en"', ("language", "==", "en", "text")),
        ('lang in ["en", "de"]', ("lang", "in", ("en", "de"), "text")),
        ("index in[1, 2.5]", ("index", "in", (1, 2.5), "number")),
        ("good != true", ("good", "!=", True, "truth")),
        ('"a == b" == "in [1]"', ("a == b", "==", "in [1]", "text")),
    ],
)
def test_conditions(text, expected):
    assert parsed_condition(text) == Condition(text.strip(), *expected)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a condition; write a field"),
        ("score", "is not a condition"),
        ("score = 3", "is not a condition"),
        ("score ~ 3", "is not a condition"),
        ("score >=", "is not a JSON value"),
        ("lang == en", "is not a JSON value"),
        ("lang == 'en'", "is not a JSON value"),
        ("score > NaN", "is not a JSON value"),
        ("score > 1e999", "more than 64 bits"),
        ("score > 99999999999999999999", "more than 64 bits"),
        ("lang == null", "compare with a number"),
        ('lang == ["en"]', "compare with a number"),
        ('lang in "en"', "a JSON list"),
        ("lang in []", "a JSON list"),
        ('lang in ["en", 3]', "of several types"),
        ("lang in [[1]]", "compare with a number"),
        ("good > true", "have no order"),
    ],
)
def test_wrong_conditions_are_told(text, told):
    with pytest.raises(ValueError, match=told):
        parsed_condition(text)


def test_templates():
    assert parsed_template("{title}\n\n{data.text}") == Template(("", "\n\n", ""), ("title", "data.text"))
    assert parsed_template("{{{a}}} {{}}") == Template(("{", "} {}"), ("a",))
    assert parsed_template("{ a b }").filled(["x{y}"]) == "x{y}"
    for text, told in (
        ("", "names no field"),
        ("{{a}}", "names no field"),
        ("{a", "'{' at character 0 has no partner"),
        ("{a}}", "'}' at character 3 has no partner"),
        ("{a{b}}", "'{' at character 0 has no partner"),
        ("x {} {a}", "the braces at character 2 contain no field's name"),
    ):
        with pytest.raises(ValueError, match=told):
            parsed_template(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("where: ['score = 3']", "raw.sources.0: files: where: 'score = 3' is not a condition"),
        ("template: '{title'", "raw.sources.0: files: template: template: the '{' at character 0"),
        ("{template: '{a}', text_field: text}", "text_field and template both say what the text is"),
    ],
)
def test_errors_name_the_experiments_file(tmp_path, options, told):
    source = options.strip("{}") if options.startswith("{template") else options
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: tiny\nraw: {{sources: [{{kind: files, paths: [x.jsonl], {source}}}]}}\n")
    (tmp_path / "tiny.yaml").write_text(
        "model: {d_model: 8, n_layers: 1, mixer: {kind: liv, kernel: 3}, feed_forward: {kind: relu, d_ff: 128}}\n"
    )
    with pytest.raises(PedigreeError) as caught:
        load_experiment(path)
    assert f"{path}: " in str(caught.value)
    assert told in str(caught.value)


def test_fields_of_now_are_no_part_of_identities_where_they_are_not_used():
    plain = FilesSource(paths=("x",))
    assert not {"template", "where"} & canonical(plain).keys()
    assert canonical(FilesSource(paths=("x",), where=("a > 1",)))["where"] == ["a > 1"]
