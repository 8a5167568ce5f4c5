"""Docstrings and package descriptions of the standard library and the installed packages: a corpus on every machine.

A document is one docstring, without the name of the object that it describes. So deduplication finds a text that is in
two places. Files are parsed, not imported.
"""

import ast
import csv
import gc
import json
import os
import platform
import re
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from email import message_from_string
from itertools import pairwise
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest

from llm_core.data.records import BadRecord, Document, as_document, excerpt
from llm_core.data.sources.python_docs.spec import PythonDocsSource
from llm_core.data.sources.reader import SourceReader
from llm_core.data.sources.unit_parts import unit_name, write_unit
from llm_core.graph.part import PartTask, PartWork

OWN_DISTRIBUTION = "pedigree_llm"

_SKIPPED_FOLDERS = {"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"}
_COPIES = {"_vendor", "vendor", "vendored"}  # copies of other packages, often in an older version
_METADATA = "METADATA"
_TRIPLE_QUOTES = re.compile(b"\"\"\"|'''")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class PythonDocs(SourceReader):
    """Files in the order of a hash of their names, so that a size limit takes a mix of all packages.

    Origins are names relative to the standard library or to site-packages (``json/decoder.py``,
    ``polars-2.1.0.dist-info/METADATA``); the row is the number of the docstring in its file, counting short ones.
    """

    def __init__(self, source: PythonDocsSource) -> None:
        self._source = source

    def source_digests(self) -> dict[str, str]:
        """Name → version, for Python and every distribution that is read."""
        versions = {"python": platform.python_version()}
        for folder in _distributions():
            name, _, version = folder.stem.rpartition("-")
            versions[name] = version
        return versions

    def tasks(self, documents_per_part: int) -> list[PartTask]:
        """One task: the size limit is over all files together."""
        config = {"source": self._source, "documents_per_part": documents_per_part}
        name = unit_name(self._source.name, "the installation")
        return [PartTask(name, installation_part, {}, config, {"versions": self.source_digests()})]

    def records(self) -> Iterator[Document | BadRecord]:
        """Documents until the next one would exceed ``max_bytes`` of text."""
        files = {**_distribution_files(), **_standard_library_files()}
        taken = 0
        for origin in sorted(files, key=lambda name: (xxh3_64_intdigest(name.encode()), name)):
            path = files[origin]
            is_python = not origin.endswith(_METADATA)
            texts = _docstrings(path, self._source.min_characters) if is_python else _description(path)
            if isinstance(texts, str):
                yield BadRecord(origin, 0, "not Python", texts)
                continue
            for row, text in enumerate(texts):
                if len(text) < self._source.min_characters:
                    continue
                record = as_document(origin, row, text)
                if isinstance(record, Document):
                    taken += record.size
                    if taken > self._source.max_bytes:
                        return
                yield record


def installation_part(work: PartWork, source: PythonDocsSource, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of the installed documentation."""
    return write_unit(work.name, work.out, source.name, PythonDocs(source).records(), documents_per_part)


def _distributions() -> list[Path]:
    """The ``.dist-info`` folders in site-packages, without this project and editable installs."""
    roots = sorted({Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))})
    folders = [folder for root in roots for folder in sorted(root.glob("*.dist-info"))]
    return [
        folder
        for folder in folders
        if (folder / _METADATA).is_file()
        and folder.stem.rpartition("-")[0].lower() != OWN_DISTRIBUTION
        and not _is_editable(folder)
    ]


def _is_editable(folder: Path) -> bool:
    path = folder / "direct_url.json"
    return path.is_file() and json.loads(path.read_bytes()).get("dir_info", {}).get("editable", False)


def _distribution_files() -> dict[str, Path]:
    """Origin → file for the Python files and descriptions that the distributions' RECORD lists."""
    files = {}
    for folder in _distributions():
        files[f"{folder.name}/{_METADATA}"] = folder / _METADATA
        record = folder / "RECORD"
        if record.is_file():
            with record.open(encoding="utf-8", newline="") as rows:
                names = [row[0] for row in csv.reader(rows) if row]
            files.update({name: folder.parent / name for name in names if _is_wanted(name)})
    return {origin: path for origin, path in files.items() if path.is_file()}


def _standard_library_files() -> dict[str, Path]:
    root = Path(sysconfig.get_path("stdlib"))
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS | _COPIES]
        for name in names:
            path = Path(folder, name)
            origin = path.relative_to(root).as_posix()
            if _is_wanted(origin):
                files[origin] = path
    return files


def _is_wanted(origin: str) -> bool:
    *folders, name = origin.split("/")
    return (
        name.endswith(".py")
        and not name.startswith(("test_", "conftest.", "_sysconfigdata"))
        and ".." not in folders
        and not (_SKIPPED_FOLDERS | _COPIES).intersection(folders)
    )


def _description(path: Path) -> list[str]:
    """The long description in a distribution's metadata: the body, or in old files a field with indented lines."""
    message = message_from_string(path.read_text(encoding="utf-8", errors="replace"))
    return [str(message.get_payload()).strip() or textwrap.dedent(message.get("Description", ""))]


def _docstrings(path: Path, min_characters: int) -> list[str] | str:
    """All docstrings of a file in the order of the source, dedented; a message (str) if it can't be parsed.

    A file without two triple quotes at least ``min_characters`` apart is not parsed and gives none: parsing takes most
    of the time.
    """
    source = path.read_bytes()
    quotes = [match.start() for match in _TRIPLE_QUOTES.finditer(source)]
    if all(after - before < min_characters for before, after in pairwise(quotes)):
        return []
    collecting = gc.isenabled()
    gc.disable()  # a syntax tree has no cycles; searching it for cycles takes a fifth of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return excerpt(f"{type(error).__name__}: {error}")
    finally:
        if collecting:
            gc.enable()
    return list(_collected(tree))


def _collected(tree: ast.Module) -> Iterator[str]:
    """All docstrings in ``tree``. No recursion, because every ``elif`` is nested in the one before."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DOCUMENTED):
            text = ast.get_docstring(node)
            if text is not None:
                yield text
        for field in ("finalbody", "orelse", "handlers", "body"):  # reversed: the last one in is the first one out
            children = getattr(node, field, None)
            if isinstance(children, list):
                waiting += (child for child in reversed(children) if not isinstance(child, ast.Expr | ast.Assign))
