import re

import pytest
from phonenumbers import SUPPORTED_REGIONS
from pydantic import ValidationError

from llm_core.data.redactions.phones.spec import REGIONS, Phones
from llm_core.experiment.base import canonical
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.experiment.load import load_experiment
from llm_core.experiment.presets import PRESETS
from llm_core.registries import LINE_RULES
from llm_core.store.home import PROJECT
from pipelines.experiments import open_experiment

MINIMAL = """
model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2}, feed_forward: {kind: swiglu, d_ff: 64}}
training: {sequence_length: 16, batch_tokens: 64, tokens: 640, optimizer: {lr: 1e-3}}
"""


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_written_out(name):
    cleaning = CleaningSpec(preset=name)
    assert dict(canonical(cleaning)) == dict(canonical(CleaningSpec(**PRESETS[name])))
    assert CleaningSpec.model_validate(cleaning.model_dump()) == cleaning


def test_own_rules_replace_follow_and_take_out():
    cleaning = CleaningSpec(
        preset="fineweb",
        language=None,
        rules={"min_words": {"min": 9}, "top_2_gram": None, "punctuated_lines": {"max": 1}},
    )
    names = list(cleaning.rules)
    assert cleaning.language is None
    assert "top_2_gram" not in names
    assert cleaning.rules["min_words"] == RuleSpec(min=9)
    assert cleaning.rules["max_words"] == RuleSpec(max=100_000)
    assert names.index("min_words") < names.index("max_words") < names.index("line_words") < names.index("short_lines")
    assert not any(name == "line_sentence_end" for name in names if name in LINE_RULES)


def test_in_a_file(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text(
        MINIMAL + "cleaning: {preset: c4, keep: [letters, digits], blocked_words: {path: lists/words.txt}, "
        "rules: {sentences: null, mean_word_length: {min: 3}}}\n"
    )
    cleaning = load_experiment(path).cleaning
    assert cleaning.keep == ("letters", "digits")
    assert cleaning.blocked_words.path == str(tmp_path / "lists/words.txt")
    assert [redaction.kind for redaction in cleaning.redactions] == ["citations"]
    assert list(cleaning.rules)[-2:] == ["curly_brackets", "mean_word_length"]


def test_where_a_list_lies_does_not_count():
    assert canonical(CleaningSpec(blocked_urls={"path": "a"})) == canonical(CleaningSpec(blocked_urls={"path": "b"}))
    assert canonical(CleaningSpec(blocked_urls={"path": "a"})) != canonical(CleaningSpec())


def test_the_default_regions_have_numbers():
    assert set(REGIONS) <= SUPPORTED_REGIONS
    assert canonical(Phones(regions=("DK",))) == {"kind": "phones", "regions": ["DK"]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "goper"}, "unknown preset 'goper'; known: c4, fineweb, gopher, none"),
        ({"preset": ["c4"]}, "unknown preset"),
        ({"rules": {"min_wrods": None}}, "unknown cleaning rule 'min_wrods'"),
        ({"rules": ["min_words"]}, "valid dictionary"),
        ({"redactions": ["names"]}, "unknown redaction 'names'"),
        ({"language": {"keep": ["English"]}}, "pattern"),
        ({"language": {"keep": []}}, "at least 1 item"),
        ({"keep": []}, "at least 1 item"),
        ({"redactions": [{"kind": "phones", "regions": ["de"]}]}, "phones: regions.0: .*pattern"),
        ({"redactions": [{"kind": "phones", "regions": ["US", "UK"]}]}, "UK: no region of ISO 3166 with telephone"),
        ({"redactions": ["phones", "emails", {"kind": "phones"}]}, "phones, emails, phones: give each kind only once"),
        ({"phone_regions": ["US", "GB"]}, r"write redactions: \[\{kind: phones, regions: \[US, GB\]\}\]"),
    ],
)
def test_what_is_wrong_is_said(settings, message):
    with pytest.raises(ValidationError, match=message):
        CleaningSpec(**settings)


def test_the_readmes_experiment_has_the_presets_own_bounds(tmp_path):
    (block,) = re.findall(r"```yaml\n(# mine\.yaml\n.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(block)
    cleaning = open_experiment(str(path)).cleaning
    assert cleaning.rules == CleaningSpec(preset="fineweb").rules
    assert [redaction.kind for redaction in cleaning.redactions] == ["emails", "ips", "phones"]
