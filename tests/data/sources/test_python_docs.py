import json
import sysconfig
from pathlib import Path

import pytest

from llm_core.data.records import BadRecord
from llm_core.data.sources.python_docs.reader import PythonDocs
from llm_core.data.sources.python_docs.spec import PythonDocsSource

LONG = "A sentence that is long enough to count."


def records(**options):
    return list(PythonDocs(PythonDocsSource(**options)).records())


@pytest.fixture
def python(tmp_path, monkeypatch):
    """A made-up installation: a standard library, and distributions in site-packages."""
    folders = {"stdlib": tmp_path / "lib", "purelib": tmp_path / "lib" / "site-packages"}
    folders["platlib"] = folders["purelib"]
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folders[name]))

    def add(path, content):
        (tmp_path / "lib" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    def distribution(name, version, files, description="", **extra):
        info = f"site-packages/{name}-{version}.dist-info"
        for path, content in files.items():
            add(f"site-packages/{path}", content)
        add(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n{description}")
        add(f"{info}/RECORD", "".join(f"{path},sha256=x,1\n" for path in [*files, "../../bin/tool.py"]))
        for file, content in extra.items():
            add(f"{info}/{file}.json", content)

    add(
        "json/decoder.py",
        f'"""{LONG * 2}"""\nclass D:\n    """short"""\n    def f(self):\n        """{LONG}\n\n        In.\n        """',
    )
    add("test/test_json.py", f'"""{LONG}"""')
    add("json/tests/data.py", f'"""{LONG}"""')
    add("site-packages/stray.py", f'"""{LONG}"""')
    return distribution


def test_docstrings_in_order_with_their_place(python):
    python(
        "plain",
        "1.0",
        {"plain/__init__.py": f'if True:\n    async def f():\n        """{LONG}plain"""\n'},
        LONG + " read me",
    )
    found = {(record.origin, record.row): record.text for record in records(min_characters=30)}
    assert found == {
        ("json/decoder.py", 0): LONG * 2,
        ("json/decoder.py", 2): f"{LONG}\n\nIn.",
        ("plain/__init__.py", 0): f"{LONG}plain",
        ("plain-1.0.dist-info/METADATA", 0): f"{LONG} read me",
    }


def test_only_what_distributions_brought(python):
    """Not the project itself, not what is installed in place, no tests, no copies of other packages."""
    text = f'"""{LONG}"""'
    python("pedigree_llm", "0.1", {"llm_core/x.py": text})
    python("mine", "1", {"mine.py": text}, direct_url=json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))
    python(
        "pip", "9", {"pip/_vendor/rich/a.py": text, "pip/tests/a.py": text, "pip/conftest.py": text, "pip/ok.py": text}
    )
    assert {record.origin.split("/")[0] for record in records(min_characters=30)} == {"json", "pip"}
    assert {record.origin for record in records(min_characters=30)} >= {"pip/ok.py"}
    source_digests = PythonDocs(PythonDocsSource()).source_digests()
    assert {name: version for name, version in source_digests.items() if name != "python"} == {"pip": "9"}
    assert source_digests["python"].count(".") >= 2


def test_deep_chains_are_read_in_the_order_of_the_source(python):
    def documented(name, indent=""):
        return f'{indent}def {name}():\n{indent}    """{LONG}{name}"""\n'

    chain = "if x:\n    pass\n" + "".join(f"elif x == {number}:\n    pass\n" for number in range(1500))
    rest = "try:\n{}except A:\n{}else:\n{}finally:\n{}"
    parts = rest.format(*(documented(name, "    ") for name in ("one", "two", "three", "four")))
    source = documented("zero") + parts + chain + "else:\n" + documented("five", "    ") + documented("six")
    python("deep", "1", {"deep.py": source})
    found = [record.text for record in records(min_characters=30) if record.origin == "deep.py"]
    assert found == [LONG + name for name in ("zero", "one", "two", "three", "four", "five", "six")]


def test_bad_files_are_set_aside(python):
    python(
        "odd",
        "1",
        {
            "odd/two.py": f'print "old"\n"""{LONG}"""',
            "odd/nul.py": f'"""{LONG}\\0"""',
            "odd/latin.py": b'"""' + b"\xe9" * 90 + b'"""',
        },
    )
    bad = {record.origin: record.reason for record in records(min_characters=30) if isinstance(record, BadRecord)}
    assert bad == {"odd/two.py": "not Python", "odd/nul.py": "NUL character", "odd/latin.py": "not Python"}


def test_the_real_installation_gives_a_portable_bounded_mix():
    first = records(max_bytes=300_000)
    assert first == records(max_bytes=300_000)
    assert 250_000 < sum(len(record.text.encode()) for record in first) <= 300_000
    assert not any(Path(record.origin).is_absolute() for record in first)
    assert min(len(record.text) for record in first) >= 200
    assert len({record.origin.split("/")[0] for record in first}) >= 10
    larger = records(max_bytes=600_000)
    assert larger[: len(first)] == first
