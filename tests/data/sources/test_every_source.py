"""What holds for every kind of source."""

import json
import sysconfig

import pytest

from llm_core.contracts.rules import HOSTILE
from llm_core.data.sources.reader import SourceReader
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import SourceSpec
from llm_core.registries import SOURCES
from tests.data.sources.units import made
from tests.documented import blocks, experiment

TEXTS = [text for text in HOSTILE if text]


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
    """Kind → the first source of the kind that the page shows."""
    found = experiment(tmp_path_factory.mktemp("documented"), blocks("sources.md", "raw")[0]).raw.sources
    return {source.kind: source for source in reversed(found)}


def files(folder):
    lines = [json.dumps({"text": text}) for text in HOSTILE]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return {"paths": (str(folder / "texts.jsonl"),)}


def hugging_face(folder):
    files(folder)
    return {"repo": "a/b", "revision": "0" * 40, "files": ("*.jsonl",), "local_folder": str(folder)}


def python_docs(folder):
    for number, text in enumerate(HOSTILE):
        (folder / f"{number}.py").write_text(f'"""{text}"""')
    return {"min_characters": 1}


READ = {"files": files, "hugging_face": hugging_face, "python_docs": python_docs}
"""Kind → its settings for a folder into which it puts the texts."""


@pytest.mark.parametrize("kind", SOURCES)
def test_it_is_documented_and_its_example_loads(documented, kind):
    source = documented[kind]
    assert isinstance(source, SourceSpec)
    assert isinstance(source.reader(), SourceReader)


@pytest.mark.parametrize("kind", SOURCES)
def test_an_unknown_key_is_named(documented, tmp_path, kind):
    settings = json.dumps({**documented[kind].model_dump(mode="json", exclude_unset=True), "kind": kind, "nonsense": 1})
    with pytest.raises(PedigreeError, match=rf"raw\.sources\.0: {kind}: nonsense: there is no such key"):
        experiment(tmp_path, f"raw: {{sources: [{settings}]}}\n")


@pytest.mark.parametrize("kind", SOURCES)
def test_it_reads_hostile_texts(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    reader = SOURCES.load(kind)(**READ[kind](tmp_path)).reader()
    tasks = reader.chosen(10, lambda wave: [])
    texts = {record.text for record in made(tasks) if hasattr(record, "text")}
    assert texts == set(TEXTS)
    assert all(isinstance(digest, str) for digest in reader.source_digests().values())
    assert isinstance(reader.unread_files(), list)
