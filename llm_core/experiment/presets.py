"""Published sets of cleaning settings. An experiment contains their values, not their names."""

from typing import Any

# Rae et al., 2021, table A1.
_GOPHER_REPETITION = {
    "duplicate_paragraphs": {"max": 0.3},
    "duplicate_paragraph_characters": {"max": 0.2},
    "duplicate_lines": {"max": 0.3},
    "duplicate_line_characters": {"max": 0.2},
    "top_2_gram": {"max": 0.2},
    "top_3_gram": {"max": 0.18},
    "top_4_gram": {"max": 0.16},
    "duplicate_5_grams": {"max": 0.15},
    "duplicate_6_grams": {"max": 0.14},
    "duplicate_7_grams": {"max": 0.13},
    "duplicate_8_grams": {"max": 0.12},
    "duplicate_9_grams": {"max": 0.11},
    "duplicate_10_grams": {"max": 0.1},
}

# Rae et al., 2021, section A.1.1.
_GOPHER_QUALITY = {
    "min_words": {"min": 50},
    "max_words": {"max": 100_000},
    "mean_word_length": {"min": 3, "max": 10},
    "symbols_per_word": {"max": 0.1},
    "bullet_lines": {"max": 0.9},
    "ellipsis_lines": {"max": 0.3},
    "alphabetic_words": {"min": 0.8},
    "stop_words": {"min": 2},
}

# Raffel et al., 2020, section 2.2, and rules that are only in its code: long words, policies, citations.
_C4_LINES = {
    "line_longest_word": {"max": 1000},
    "line_sentence_end": {"min": 1},
    "line_words": {"min": 3},
    "line_javascript": {"max": 0},
    "line_policy": {"max": 0},
}
_C4_DOCUMENTS = {"lorem_ipsum": {"max": 0}, "curly_brackets": {"max": 0}, "sentences": {"min": 5}}

# Penedo et al., 2024, section 3.6.
_FINEWEB_QUALITY = {
    "punctuated_lines": {"min": 0.12},
    "short_lines": {"max": 0.67},
    "duplicate_line_characters": {"max": 0.01},
    "newlines_per_word": {"max": 0.3},
}

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "gopher": {"words": "spaces", "rules": _GOPHER_QUALITY | _GOPHER_REPETITION},
    "c4": {"redactions": ("citations",), "rules": _C4_LINES | _C4_DOCUMENTS},
    # C4's rules except for line ends. Repeated lines are judged once, with the narrower of the two bounds.
    "fineweb": {
        "language": {"keep": ("en",), "min_score": 0.65},
        "redactions": ("citations", "emails", "public_ips"),
        "words": "english",
        "rules": {
            **{name: bounds for name, bounds in _GOPHER_REPETITION.items() if name not in _FINEWEB_QUALITY},
            **_GOPHER_QUALITY,
            **{name: bounds for name, bounds in _C4_LINES.items() if name != "line_sentence_end"},
            **_C4_DOCUMENTS,
            **_FINEWEB_QUALITY,
        },
    },
}


def expanded(cleaning: dict[str, Any]) -> dict[str, Any]:
    """``cleaning`` with its preset expanded. Its own settings override the preset's, and its own rules override rules
    with the same name. Its other rules come after the preset's.

    Raises ``ValueError`` for an unknown preset.
    """
    settings = dict(cleaning)
    name = settings.pop("preset", None)
    if name is None:
        preset: dict[str, Any] = {}
    elif isinstance(name, str) and name in PRESETS:
        preset = PRESETS[name]
    else:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(sorted(PRESETS))}")
    own = settings.get("rules", {})
    if not isinstance(own, dict):
        return settings  # not a mapping: the field's validator raises the error
    return {**preset, **settings, "rules": {**preset.get("rules", {}), **own}}
