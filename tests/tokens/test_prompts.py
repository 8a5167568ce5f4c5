"""What prompts, suites and exported tokenizers are given is brought into the form of the documents."""

import json
import random
import re
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.normalise import normalised
from llm_core.evals.lm import PedigreeLM
from llm_core.evals.samples import prompt_ids
from llm_core.experiment.cleaning import CleaningSpec, TextForm
from llm_core.experiment.tokens import TokenizerSpec, VocabularyFile
from llm_core.model.hf.exporting import export_folder
from llm_core.tokens.importing import import_tokenizer
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.prompt_form import normaliser, write_form
from llm_core.tokens.prompts import FORM, prompt_tokenizer
from llm_core.tokens.steps import as_normalizer
from llm_core.tokens.tokenizer import load_tokenizer
from tests.model import shapes
from tests.tokens.hostile import hostile_sample

LINE_ENDS = re.compile("[\n\r\x0b\x0c\x85\u2028\u2029]")
FORMS = [
    TextForm(),
    TextForm(plain_quotes="curly", uncased=True, keep=("letters", "digits", "punctuation")),
    TextForm(unicode_form="none", plain_quotes=False, uncased=True),
    TextForm(uncased=True, keep=("letters", "symbols")),
    TextForm(plain_quotes=False, keep=("letters", "emoji")),
]
PIECES = list(
    " \t\u00a0\u200b\ufeff\x00\x1b“”‘’…—é\u0301\u0307İǅK\u03a9ﬁ½´\u0345ß\u1100\u1161\u11a8\u0f71\u05d0\u05b0"
    "\u200d\ufe0f👩🏽💻©7€\u3000ΣΟΔσς'.A<|"
)


def cleaned(texts: list[str], form: TextForm) -> list[str]:
    found: list[str] = normalised(pl.Series("text", texts, dtype=pl.String), form).to_list()
    return found


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_characters_become_what_cleaning_makes_of_them(form: TextForm) -> None:
    """Compared within a line, between two letters: edges and lines are what is left out."""
    chance = random.Random(8)
    texts = [LINE_ENDS.sub("", text)[:80] for text in hostile_sample(1000, seed=8)]
    texts += ["".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(3000)]
    texts = [f"x{text}x" for text in texts]
    forming = as_normalizer([normaliser(form)])
    expected = cleaned(texts, form)
    assert [forming.normalize_str(text) for text in texts] == expected
    assert [forming.normalize_str(text) for text in expected] == expected, "documents stay what they are"


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs", "Cn"]), max_size=12))
def test_any_text_in_the_form_of_a_small_model(text: str) -> None:
    form = FORMS[1]
    text = f"x{LINE_ENDS.sub('', text)}x"
    assert as_normalizer([normaliser(form)]).normalize_str(text) == cleaned([text], form)[0]


@pytest.mark.parametrize("unit", ["the river is wide. ", " ", "a5", "5 ", "Σ'", "e\u0301\u0301 ", "\n5"])
def test_long_texts_take_time_by_their_length(unit: str) -> None:
    """In one document of 200 kB; looking back over what is taken out took minutes."""
    forming = as_normalizer([normaliser(FORMS[3])])
    text = (unit * 200_000)[:200_000]
    started = time.perf_counter()
    forming.normalize_str(text)
    assert time.perf_counter() - started < 10


def test_lines_keep_their_white_space() -> None:
    forming = as_normalizer([normaliser(FORMS[1])])
    assert forming.normalize_str("A \r\n\n\n\rb ") == "a \n\n\n\nb "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The tokenizer of an experiment without capitals."""
    cleaning = CleaningSpec(uncased=True, plain_quotes="curly", keep=("letters", "digits", "punctuation"))
    path = tmp_path / "tokenizer.json"
    train_tokenizer(["the river isn't “wide”"] * 3, TokenizerSpec(vocab_size=300, byte_fallback=False)).save(str(path))
    write_form(tmp_path, cleaning.form())
    return path


LOUD, QUIET = "THE RIVER ISN’T\u00a0→ WIDE", "the river isn't wide"


def test_capitals_and_lower_case_are_the_same_everywhere(path: Path, tmp_path: Path) -> None:
    plain = load_tokenizer(path).encode(QUIET, add_special_tokens=False).ids
    tokenizer = prompt_tokenizer(path)
    assert prompt_ids(tokenizer, LOUD, 0) == prompt_ids(tokenizer, QUIET, 0) == [0, *plain]
    model = shapes.model(shapes.spec())
    lm = PedigreeLM(model, tokenizer, 0, 32, 1, 1, lambda *_: None)
    assert lm.tok_encode(LOUD) == lm.tok_encode(QUIET) == plain
    assert lm._request({}, "THE RIVER", " ISN’T") == lm._request({}, "the river", " isn't")
    export_folder(model, tmp_path / "model", sequence_length=64, tokenizer=path)
    exported = load_tokenizer(tmp_path / "model" / "tokenizer.json")
    assert exported.encode(LOUD).ids == exported.encode(QUIET).ids == [0, *plain]
    assert "end of a line" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("context", "same"),
    [
        ("The river is wide ?", "the river is wide"),
        ("it is 5 ", "it is"),
        ("the river , ''", "the river"),
        ("5 + 5 =", ""),
    ],
)
def test_what_the_form_takes_from_the_end_of_a_context_costs_no_token_of_the_answer(
    tmp_path: Path, context: str, same: str
) -> None:
    path = tmp_path / "tokenizer.json"
    train_tokenizer(["the river is wide"] * 3, TokenizerSpec(vocab_size=300)).save(str(path))
    write_form(tmp_path, TextForm(uncased=True, keep=("letters",)))
    lm = PedigreeLM(shapes.model(shapes.spec()), prompt_tokenizer(path), 0, 32, 1, 1, lambda *_: None)
    plain = load_tokenizer(path)
    answer = " the River"
    before = plain.encode(same).ids or [0]
    after = plain.encode(answer.lower() if same else answer.lower().lstrip()).ids
    assert lm._request({}, context, answer) == (False, before, after)


def test_special_tokens_in_prompts_stay_text(path: Path) -> None:
    assert 0 not in prompt_tokenizer(path).encode("<|endoftext|>").ids


def test_an_exported_tokenizer_is_imported_with_its_form(path: Path, tmp_path: Path) -> None:
    export_folder(shapes.model(shapes.spec()), tmp_path / "model", sequence_length=64, tokenizer=path)
    file = VocabularyFile(file=str(tmp_path / "model" / "tokenizer.json"))
    made = import_tokenizer(TokenizerSpec(kind="imported", imported=file)).tokenizer()
    texts = [LOUD, QUIET, *hostile_sample(200, seed=9)]
    exported = load_tokenizer(tmp_path / "model" / "tokenizer.json")
    for text in texts:
        assert made.encode(text, add_special_tokens=False).ids == exported.encode(text, add_special_tokens=False).ids


def test_a_normaliser_of_the_file_comes_after(path: Path) -> None:
    written = json.loads(path.read_text())
    written["normalizer"] = {"type": "NFC"}
    path.write_text(json.dumps(written))
    tokenizer = prompt_tokenizer(path)
    assert tokenizer.normalizer.normalize_str("E\u0301") == "é"
    path.with_name(FORM).unlink()
    assert prompt_tokenizer(path).normalizer.normalize_str("E\u0301") == "É", "no experiment's: as it is"
