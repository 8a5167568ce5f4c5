"""Files that mean harm, or look as if: bombs, other schemas, scripts that don't run from left to right."""

import json
import subprocess
import sys
import zlib
from itertools import islice

import polars as pl
import pytest
import zstandard

from llm_core.data.sources import parquet, unpacking
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.errors import PedigreeError
from tests.data.sources.units import made


def records(path, **options):
    return made(Files(FilesSource(paths=(str(path),), **options)).tasks(10_000))


def repeated(path, size):
    """A file of one line, repeated; written without holding it."""
    line = b'{"text": "the same line again and again"}\n'
    block = line * (1 << 15)
    packer = zlib.compressobj(wbits=31) if path.suffix == ".gz" else zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(packer.compress(block))
        file.write(packer.flush())
    return path


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_bomb_is_refused_by_name(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(unpacking, "FREE_EXPANSION", 1 << 20)
    path = repeated(tmp_path / f"a.jsonl{suffix}", 6 << 20)
    with pytest.raises(PedigreeError, match=rf"a\.jsonl\{suffix}: expands too far: .*more than max_expansion \(5\)"):
        records(path, max_expansion=5)
    assert len(records(path, max_expansion=100_000)) > 100_000


def test_a_small_bomb_takes_little_memory(tmp_path):
    """700 MB in a frame of some 60 kB: what is held at once stays small however much a byte unpacks to."""
    path = tmp_path / "a.jsonl.zst"
    packer = zstandard.ZstdCompressor(level=19).compressobj()
    with path.open("wb") as file:
        for _ in range(700):
            file.write(packer.compress(b"x" * 1_000_000))
        file.write(packer.flush())
    assert path.stat().st_size < 100_000
    program = """if True:
        import sys
        from pathlib import Path
        from llm_core.data.sources.streams import open_stream, read_lines
        from llm_core.data.sources.unpacking import ExpansionError
        list(read_lines(open_stream(Path(__file__)), 1000))
        def peak():  # of this program alone: getrusage counts what its parent had as well
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
        before = peak()
        try:
            for _ in read_lines(open_stream(Path(sys.argv[1]), int(sys.argv[2])), 16_000_000): pass
            print("whole", end=" ")
        except ExpansionError:
            print("refused", end=" ")
        print(peak() - before)
    """
    (tmp_path / "program.py").write_text(program)
    for allowed, expected in ((100, "refused"), (100_000, "whole")):
        command = [sys.executable, str(tmp_path / "program.py"), str(path), str(allowed)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        verdict, grown = done.stdout.split()
        assert verdict == expected
        assert int(grown) < 150_000  # kB


def test_a_column_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "FREE_EXPANSION", 1 << 20)
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": ["the same text" * 20] * 50_000}).write_parquet(path)
    with pytest.raises(PedigreeError, match=r"a\.parquet: expands too far: its first .* rows have"):
        records(path)
    assert len(records(path, max_expansion=100_000)) == 50_000
    path = tmp_path / "[b]*.parquet"
    pl.DataFrame({"text": ["x" * (8 << 20)]}).write_parquet(path)
    with pytest.raises(PedigreeError, match=r"expands too far: its column 'text' unpacks to 8,388"):
        records(tmp_path / "[[]b[]][*].parquet")
    assert len(records(tmp_path / "[[]b[]][*].parquet", max_expansion=100_000)) == 1


def test_addresses_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "FREE_EXPANSION", 1 << 20)
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": ["x"] * 50, "url": ["https://made.example/" + "x" * 100_000] * 50}).write_parquet(path)
    with pytest.raises(PedigreeError, match=r"a\.parquet: expands too far"):
        records(path, url_field="url")
    assert len(records(path)) == 50


def test_rows_that_polars_leaves_out_are_noticed(tmp_path, monkeypatch):
    """A changed bit can make polars read some of the rows, or none, without an error."""
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": [f"text {number}" for number in range(1500)]}).write_parquet(path)
    all_batches = parquet._batches
    monkeypatch.setattr(parquet, "_batches", lambda *given: islice(all_batches(*given), 1))
    with pytest.raises(PedigreeError, match=r"a\.parquet: .* after 1000 whole records: its footer says 1500 rows"):
        records(path)


def test_a_panic_of_polars_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    def panics(*_):
        raise pl.exceptions.PanicException("not yet implemented")

    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": ["x"]}).write_parquet(path)
    monkeypatch.setattr(parquet, "_batches", panics)
    with pytest.raises(PedigreeError, match=r"a\.parquet: can't be read as Parquet"):
        records(path)


def test_parquet_with_more_than_text(tmp_path):
    """Nested columns, lists and nulls beside the text do no harm; a text that is nested is told."""
    frame = pl.DataFrame(
        {
            "text": ["one", None, "three"],
            "meta": [{"lang": "en", "tags": ["a"]}, None, {"lang": None, "tags": []}],
            "scores": [[0.5, None], [], None],
            "url": ["https://made.example/1", None, None],
        }
    )
    path = tmp_path / "a.parquet"
    frame.write_parquet(path)
    found = records(path, url_field="url")
    assert [(record.row, getattr(record, "text", None)) for record in found] == [(0, "one"), (1, None), (2, "three")]
    assert [record.url for record in found if hasattr(record, "url")] == ["https://made.example/1", None]
    with pytest.raises(PedigreeError, match=r"a\.parquet: the column 'meta' is Struct"):
        records(path, text_field="meta")
    with pytest.raises(PedigreeError, match=r"the column 'scores' is List.*name a column of text in 'url_field'"):
        records(path, url_field="scores")
    with pytest.raises(PedigreeError, match=r"the column 'address' does not exist"):
        records(path, url_field="address")


def test_categorical_text_is_text(tmp_path):
    frame = pl.DataFrame({"text": ["one", "two"]}, schema={"text": pl.Categorical})
    frame.write_parquet(tmp_path / "a.parquet")
    assert [record.text for record in records(tmp_path / "a.parquet")] == ["one", "two"]


SCRIPTS = [
    "שלום עולם, זה טקסט",
    "مرحبا بالعالم",
    "e\u0301 a\u0308\u0323 combining",
    "\u202eright to left override\u202c",
    "👩\u200d👩\u200d👧 family",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "\ufeff inner mark",
    "\u2028 line separator, and \x85 next line",
]


def test_any_script_passes_unchanged(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SCRIPTS))
    (tmp_path / "b.jsonl").write_text(
        "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in SCRIPTS), newline=""
    )
    pl.DataFrame({"text": SCRIPTS}).write_parquet(tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.jsonl", "c.parquet"):
        assert [record.text for record in records(tmp_path / name)] == SCRIPTS


def test_addresses(tmp_path):
    values = ['"https://made.example"', "null", "7", '"\\ud800"']
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "x", "at": {value}}}\n' for value in values))
    found = records(tmp_path / "a.jsonl", url_field="at")
    assert [record.url for record in found[:2]] == ["https://made.example", None]
    assert [record.reason for record in found[2:]] == ["url is not a string", "lone surrogate in the url"]
    assert [record.url for record in records(tmp_path / "a.jsonl")] == [None] * 4


def test_many_small_files_are_read_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("llm_core.data.sources.files.reader._SINGLE", 10)
    monkeypatch.setattr("llm_core.data.sources.files.reader._GROUP_BYTES", 100)
    for number in range(60):
        (tmp_path / f"{number:02d}.txt").write_text(f"text {number:02d}")
    (tmp_path / "more.jsonl").write_text('{"text": "x"}\n')
    source = Files(FilesSource(paths=(str(tmp_path),)))
    before = {task.name: task for task in source.tasks(100)}
    assert 3 <= len(before) <= 9
    assert sum(len(task.inputs) for task in before.values()) == 61
    assert [record.origin for record in made(list(before.values()))][:2] == ["00.txt", "01.txt"]
    (tmp_path / "17.txt").write_text("changed")
    after = {task.name: task for task in source.tasks(100)}
    changed = [name for name in before if before[name].key("") != after[name].key("")]
    assert len(changed) == 1
    assert "17.txt" in before[changed[0]].inputs
