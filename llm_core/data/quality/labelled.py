"""Labelled examples: a file with a text and a label per line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.data.records import Document, as_document
from llm_core.data.sources.paths import printable, unreadable
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.data.sources.unit_parts import write_unit
from llm_core.data.sources.unpacking import DamagedError, ExpansionError, NeedsMoreError
from llm_core.errors import PedigreeError
from llm_core.experiment.quality import LabelledSpec
from llm_core.graph.part import InputFile, PartWork

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
LONGEST_LINE = 1 << 24
DOCUMENTS_PER_PART = 10_000
GOOD, REST = "good", "rest"


def labelled_file(spec: LabelledSpec) -> InputFile:
    """The file with its digest. Raises ``PedigreeError`` if it is missing, is of another format, or if its first record
    is no example."""
    path = Path(spec.path).expanduser()
    if not path.name.endswith(SUFFIXES):
        raise PedigreeError(
            f"{printable(path)}: quality.labelled is no {', '.join(SUFFIXES)} file; give the path of one"
        )
    try:
        if not path.is_file():
            raise PedigreeError(f"quality.labelled: there is no file {printable(path)}; mend the path, or add the file")
        if next(examples(path, spec), None) is None:
            raise PedigreeError(f"{printable(path)}: has no example; add some, or take out quality.labelled")
        return InputFile.outside(path.name, path)
    except OSError as error:
        raise unreadable(path, error) from None


def labelled_part(work: PartWork, labelled: LabelledSpec) -> dict[str, Any]:
    """``parts/good-NNNN.parquet`` and ``parts/rest-NNNN.parquet``: the texts of both classes, in the file's order."""
    path = work.inputs["labelled"]
    counts = {}
    for side in (GOOD, REST):
        texts = (document for document, good in examples(path, labelled) if good == (side == GOOD))
        counts[side] = write_unit(side, work.out, "labelled", texts, DOCUMENTS_PER_PART)["documents"]
    return counts


def examples(path: Path, spec: LabelledSpec) -> Iterator[tuple[Document, bool]]:
    """(text, whether it is good), for every line that is not empty.

    Raises ``PedigreeError`` with file and line for a line that is no example.
    """
    try:
        with open_stream(path) as stream:
            for row, (line, whole) in enumerate(read_lines(stream, LONGEST_LINE)):
                where = f"{printable(path)}: line {row + 1}"
                if not whole:
                    raise PedigreeError(f"{where} is longer than {LONGEST_LINE} bytes; is it one JSON object?")
                if line.strip():
                    yield _example(where, path.name, row, line, spec)
    except DamagedError as error:
        raise PedigreeError(
            f"{printable(path)}: damaged at byte {error.position}: {error}; get the file again"
        ) from None
    except ExpansionError as error:
        raise PedigreeError(
            f"{printable(path)}: {error}, which is too much for text; get the file again, or unpack it"
        ) from None
    except NeedsMoreError as error:
        raise PedigreeError(f"{printable(path)}: {error}") from None
    except OSError as error:
        raise unreadable(path, error) from None


def _example(where: str, origin: str, row: int, line: bytes, spec: LabelledSpec) -> tuple[Document, bool]:
    try:
        value = json.loads(line.removeprefix(b"\xef\xbb\xbf") if not row else line)
    except (ValueError, RecursionError) as error:
        raise PedigreeError(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise PedigreeError(f"{where}: not an object but {type(value).__name__}")
    for name, field in (("text_field", spec.text_field), ("label_field", spec.label_field)):
        if field not in value:
            raise PedigreeError(
                f"{where}: there is no field {field!r}, only {', '.join(map(repr, value))}; name the right one in "
                f"quality.labelled.{name}"
            )
    text = value[spec.text_field]
    if not isinstance(text, str):
        raise PedigreeError(f"{where}: the field {spec.text_field!r} should be a text (it is {ascii(text)[:80]})")
    document = as_document(origin, row, text)
    if not isinstance(document, Document):
        raise PedigreeError(f"{where}: the field {spec.text_field!r} is no document: {document.reason}")
    return document, _is_good(where, value[spec.label_field], spec)


def _is_good(where: str, label: Any, spec: LabelledSpec) -> bool:
    if spec.good_labels is not None:
        if isinstance(label, str):
            return label in spec.good_labels
        wanted = "a string, as quality.labelled.good_labels compares strings"
    else:
        assert spec.min_label is not None
        if isinstance(label, int | float) and not isinstance(label, bool) and label == label:
            return label >= spec.min_label
        wanted = "a number, as quality.labelled.min_label compares numbers"
    raise PedigreeError(f"{where}: the field {spec.label_field!r} should be {wanted} (it is {ascii(label)[:80]})")
