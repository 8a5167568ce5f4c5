import errno
import io
import json
import os
import subprocess
import sys
import time

import polars as pl
import pytest
import zstandard
from pydantic import ValidationError

from llm_core.data import raw
from llm_core.data.sources.hugging_face import hub
from llm_core.data.sources.hugging_face.hub import HubDataset
from llm_core.data.sources.hugging_face.reader import HuggingFace
from llm_core.data.sources.hugging_face.spec import HuggingFaceSource
from llm_core.errors import PedigreeError, UnknownYetError
from llm_core.experiment.load import load_experiment
from llm_core.experiment.sources import RawSpec
from llm_core.store.home import PROJECT
from tests.data.sources.hub_server import COMMIT, REPO, hub_instead, send
from tests.data.sources.units import made
from tests.data.stages import digests, read, run
from tests.experiment.test_load import MINIMAL


def lines(texts):
    return "".join(json.dumps({"text": text, "url": f"https://made.example/{text}"}) + "\n" for text in texts).encode()


def parquet(texts):
    out = io.BytesIO()
    pl.DataFrame({"text": texts, "url": [f"https://made.example/{text}" for text in texts]}).write_parquet(out)
    return out.getvalue()


FILES = {
    "README.md": b"about",
    "data/a.parquet": parquet(["a 0", "a 1", "a 2"]),
    "data/b.jsonl": lines(["b 0", "b 1"]),
    "data/c.json.zst": zstandard.compress(lines(["c 0"])),
}
TREE = f"/api/datasets/{REPO}/tree/{COMMIT}"


def place(name):
    return f"/datasets/{REPO}/resolve/{COMMIT}/{name}"


@pytest.fixture
def server(monkeypatch, tmp_path):
    with hub_instead(monkeypatch, tmp_path, dict(FILES), small=("data/b.jsonl",)) as standing_in:
        monkeypatch.setattr(hub, "_CHUNK", 10)
        yield standing_in


def spec(**options):
    return HuggingFaceSource(**{"repo": REPO, "revision": COMMIT, "files": ("data/*",), "url_field": "url", **options})


def texts(**options):
    return sorted(record.text for record in made(HuggingFace(spec(**options)).tasks(100)))


def test_files_of_a_commit(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = made(HuggingFace(spec()).tasks(100))
    assert [(record.origin, record.row, record.text) for record in found] == [
        ("data/a.parquet", 0, "a 0"),
        ("data/a.parquet", 1, "a 1"),
        ("data/a.parquet", 2, "a 2"),
        ("data/b.jsonl", 0, "b 0"),
        ("data/b.jsonl", 1, "b 1"),
        ("data/c.json.zst", 0, "c 0"),
    ]
    assert found[3].url == "https://made.example/b 0"
    assert server.tokens["127.0.0.1"] == {"Bearer hf_secret"}
    asked = server.asked.total()
    made(HuggingFace(spec()).tasks(100))
    assert server.asked.total() == asked  # a commit's listing and files are asked for once


def test_a_login_is_used(server, tmp_path):
    (tmp_path / "login").mkdir()
    (tmp_path / "login" / "token").write_text("hf_secret\n")
    server.elsewhere = True
    assert len(texts()) == 6
    assert server.tokens == {"127.0.0.1": {"Bearer hf_secret"}, "localhost": {None}}  # and no other host is told it


def test_a_plan_fetches_nothing(server):
    source = RawSpec(sources=(spec(),))
    with pytest.raises(UnknownYetError, match="comes from the Hub when this runs"):
        raw.source_digests(source)
    assert not server.asked
    raw.look_up(source)
    raw.source_digests(source)
    raw.parts({}, source)
    assert set(server.asked) == {TREE}


def test_a_local_folder_needs_no_hub_and_is_the_same(server, tmp_path):
    online = HuggingFace(spec(files=("*.parquet",)))
    keys = [task.key("code") for task in online.tasks(100)]
    for name, content in FILES.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    asked = server.asked.total()
    offline = HuggingFace(spec(files=("*.parquet",), local_folder=str(tmp_path / "copy")))
    assert [task.key("code") for task in offline.tasks(100)] == keys
    assert offline.source_digests() == online.source_digests()
    assert [record.text for record in made(offline.tasks(100))] == ["a 0", "a 1", "a 2"]
    assert server.asked.total() == asked
    (tmp_path / "copy" / "data/a.parquet").write_bytes(parquet(["other"]))
    assert offline.source_digests() != online.source_digests()
    with pytest.raises(PedigreeError, match="local_folder: there is no folder"):
        HuggingFace(spec(local_folder=str(tmp_path / "nowhere"))).source_digests()


def test_a_local_folder_is_relative_to_the_experiment(tmp_path):
    source = {"kind": "hugging_face", "repo": REPO, "revision": COMMIT, "files": ["*"], "local_folder": "copy"}
    (tmp_path / "x.yaml").write_text(f"{MINIMAL}raw: {json.dumps({'sources': [source]})}")
    assert load_experiment(tmp_path / "x.yaml").raw.sources[0].local_folder == str(tmp_path / "copy")


def test_a_download_that_breaks_off_is_continued(server):
    size = len(FILES["data/a.parquet"])
    server.faults[place("data/a.parquet")] = [("break", 10), ("break", 0), ("break", 20)]
    assert texts(files=("*.parquet",)) == ["a 0", "a 1", "a 2"]
    assert server.ranges[-4:] == [None, "bytes=10-", "bytes=10-", "bytes=30-"]
    assert size > 30
    assert server.waited == [1, 1, 1]


def test_a_download_whose_connection_is_reset_is_continued(server):
    server.faults[place("data/a.parquet")] = [("reset", 10), *[("reset", 0)] * (hub.TRIES - 1), ("reset", 20)]
    assert texts(files=("*.parquet",)) == ["a 0", "a 1", "a 2"]
    assert server.ranges[-3:] == ["bytes=10-", "bytes=10-", "bytes=30-"]
    assert not server.waited  # the library, which waits, would not have tried again


@pytest.mark.parametrize("kind", ["break", "reset"])
def test_what_a_broken_download_left_is_used_by_the_next_run(server, kind):
    server.faults[place("data/a.parquet")] = [(kind, 10)] + [(kind, 0)] * 9
    with pytest.raises(PedigreeError, match=r"no connection to .* run again when it works") as caught:
        texts(files=("*.parquet",))
    message = str(caught.value)
    assert not list(hub.pedigree_home().rglob("*.parquet"))  # half a file is not taken for one
    assert f"{REPO}@{COMMIT[:12]}/data/a.parquet" in message
    assert "finished bytes are kept" in message
    server.faults = {}
    assert texts(files=("*.parquet",)) == ["a 0", "a 1", "a 2"]
    assert server.ranges[-1] == "bytes=10-"


@pytest.fixture
def xet(server, tmp_path, monkeypatch):
    """The Parquet file lies where the Hub keeps large files, in the store of Xet; returns its content."""
    hf_xet = pytest.importorskip("hf_xet")
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet_cache"))
    server.xet_store = tmp_path / "xet_store"
    server.xet_store.mkdir()
    content = FILES["data/a.parquet"]
    with hf_xet.XetSession().new_upload_commit(endpoint=f"local://{server.xet_store}") as commit:
        upload = commit.start_upload_bytes(content)
    server.xet = {"data/a.parquet": upload.result().xet_info.hash}
    return content


def test_what_the_hub_keeps_in_xet_comes_from_there(server, xet, monkeypatch):
    assert len(texts()) == 6
    assert server.asked[place("data/a.parquet")] == 0
    assert server.asked[place("data/b.jsonl")] == 1
    next(hub.pedigree_home().rglob("a.parquet")).unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert len(texts()) == 6
    assert server.asked[place("data/a.parquet")] == 1


def test_a_download_from_xet_is_continued(server, xet):
    dataset = HubDataset("x", REPO, COMMIT)
    file = next(file for file in dataset.files() if file.path == "data/a.parquet")
    partial = dataset.local_path(file).parents[2] / "partial" / file.digest.replace(":", "-")
    partial.parent.mkdir()
    partial.write_bytes(xet[:10])
    assert dataset.fetch(file).read_bytes() == xet
    dataset.local_path(file).unlink()
    partial.write_bytes(b"?" * 10)  # only who begins anew would not mind
    with pytest.raises(PedigreeError, match="is not what the Hub lists"):
        dataset.fetch(file)
    assert dataset.fetch(file).read_bytes() == xet


def test_xet_out_of_reach_is_told(server, xet, monkeypatch):
    server.faults[f"/api/datasets/{REPO}/xet-read-token/{COMMIT}"] = [(403, {})] * 9
    with pytest.raises(PedigreeError, match=r"data/a\.parquet: no connection to .*403"):
        texts()


def test_nothing_is_written_elsewhere_and_nothing_else_is_asked(server, xet, tmp_path):
    home, folder = tmp_path / "home", tmp_path / "pedigree"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(home), "HF_ENDPOINT": server.url, "PEDIGREE_HOME": str(folder)}
    program = (
        "from llm_core.data.sources.hugging_face.hub import HubDataset\n"
        f"dataset = HubDataset('x', {REPO!r}, {COMMIT!r})\n"
        "for file in dataset.files(): dataset.fetch(file)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"PYTHONPATH": str(PROJECT)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not list(home.iterdir())
    assert {path.name for path in folder.iterdir()} <= {"hub", "store"}  # digests of files are remembered in the store
    token = f"/api/datasets/{REPO}/xet-read-token/{COMMIT}"
    others = {place(name) for name in FILES if name != "data/a.parquet"}
    assert set(server.asked) == {TREE, token} | others
    assert not ran.stdout + ran.stderr  # no bars among what a run tells


def test_a_server_that_does_not_continue_sends_all(server):
    server.ignore_ranges = True
    server.faults[place("data/a.parquet")] = [("break", 10)]
    assert texts(files=("*.parquet",)) == ["a 0", "a 1", "a 2"]


@pytest.mark.parametrize("name", ["data/a.parquet", "data/b.jsonl"])
def test_other_content_than_listed_is_thrown_away(server, name):
    HuggingFace(spec()).look_up()
    content = server.files[name]
    server.files[name] = content[:-1] + b"?"
    with pytest.raises(PedigreeError, match="is not what the Hub lists"):
        texts(files=(name,))
    server.files[name] = content
    assert len(texts(files=(name,))) > 1
    server.files[name] = content + b"!"
    dataset = HubDataset("x", REPO, COMMIT)
    dataset.local_path(next(file for file in dataset.files() if file.path == name)).unlink()
    with pytest.raises(PedigreeError, match="is not what the Hub lists"):
        texts(files=(name,))


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, {}, "you are not logged in.* log in with `hf auth login`, or set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, f"Accept the dataset's conditions at .*/datasets/{REPO}"),
        (404, {"X-Error-Code": "EntryNotFound"}, "no such file at this revision"),
        (404, {"X-Error-Code": "RevisionNotFound"}, f"no revision {COMMIT}"),
        (404, {"X-Error-Code": "RepoNotFound"}, "there is no such dataset, or it is private"),
        (418, {}, "the Hub answers 418"),
    ],
)
@pytest.mark.parametrize("path", [TREE, place("data/b.jsonl")])
def test_refusals_are_told(server, path, status, headers, said):
    server.faults[path] = [(status, headers)]
    with pytest.raises(PedigreeError, match=said) as caught:
        texts()
    assert f"source 'hugging_face': {REPO}@{COMMIT[:12]}" in str(caught.value)
    assert ("data/b.jsonl" in str(caught.value)) == (path != TREE)
    assert server.asked[path] == (path == TREE)  # before a download comes a HEAD
    assert not server.waited


def test_an_invalid_token_is_told_and_not_shown(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.faults[TREE] = [(401, {})]
    with pytest.raises(PedigreeError, match="your token is not valid here") as caught:
        texts()
    assert "hf_secret" not in str(caught.value)


def test_a_token_that_can_be_none_is_told_and_not_shown(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_s\u00e9cret")
    with pytest.raises(PedigreeError, match="your token has characters that no token has") as caught:
        texts()
    assert "cret" not in str(caught.value)
    assert server.asked.total() == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"<html>", "does not answer as the Hugging Face Hub does"),
        (b"null", "does not answer as the Hugging Face Hub does"),
        (b'{"error": "no"}', "does not answer as the Hugging Face Hub does"),
        (b'[{"type": "file", "path": "data/a.parquet"}]', "does not answer as the Hugging Face Hub does"),
        (b'[{"type": "file", "path": "data/../../a.jsonl", "size": 1, "oid": "0"}]', "leads out of the dataset"),
        (b'[{"type": "file", "path": "data/\\ud800.jsonl", "size": 1, "oid": "0"}]', r"ud800\.jsonl.*, or is invalid"),
        (b'[{"type": "file", "path": "data/\\u0000.jsonl", "size": 1, "oid": "0"}]', r"x00\.jsonl.*, or is invalid"),
    ],
)
def test_strange_answers_are_told(server, monkeypatch, answer, said):
    monkeypatch.setattr(server, "listing", lambda request, _: send(request, 200, answer))
    with pytest.raises(PedigreeError, match=said) as caught:
        texts()
    assert f"source 'hugging_face': {REPO}@{COMMIT[:12]}" in str(caught.value)


def test_a_disk_that_is_full_is_told(server, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(HubDataset, "_download", full)
    with pytest.raises(PedigreeError, match=r"data/.*: can't be written to .*hub.*No space left on device\. Run again"):
        texts()


def test_redirects_without_end_are_told(server):
    server.faults[TREE] = [(302, {"Location": server.url + TREE})] * 99
    with pytest.raises(PedigreeError, match="is no address of a Hub: Exceeded maximum allowed redirects"):
        texts()


def test_a_hub_that_does_not_answer_is_not_awaited_forever(server, monkeypatch):
    monkeypatch.setattr(hub, "SECONDS", 0.05)
    monkeypatch.setattr(server, "listing", lambda *_: time.sleep(0.5))
    with pytest.raises(PedigreeError, match=f"{COMMIT[:12]}: no connection to {server.url}: .*timed out; run again"):
        HuggingFace(spec()).look_up()
    assert server.asked[TREE] == 6


@pytest.mark.parametrize("path", [TREE, place("data/b.jsonl")])
def test_a_busy_hub_is_asked_again_as_late_as_it_says(server, path):
    server.faults[path] = [(429, {"Retry-After": "7"}), (503, {})]
    assert len(texts()) == 6
    assert server.waited == [8, 2]
    server.faults[path] = [(429, {"Retry-After": "soon"})] * 9
    for memory in (hub.pedigree_home() / "hub").rglob("*.json*"):
        memory.unlink()
    with pytest.raises(PedigreeError, match="the Hub answers 429; run again when it works"):
        texts()


def test_no_connection(server, monkeypatch):
    server.close()
    with pytest.raises(PedigreeError, match=r"no connection to .*Without a network, give a 'local_folder'"):
        texts()


def test_a_branch_is_an_error_that_says_where_it_is(server, tmp_path):
    with pytest.raises(PedigreeError, match=f"'main' is no commit, and may move. .*write revision: {COMMIT}"):
        texts(revision="main")
    with pytest.raises(PedigreeError, match="no revision gone"):
        texts(revision="gone")
    with pytest.raises(PedigreeError, match="'main' is no commit; write the 40 digits"):
        texts(revision="main", local_folder=str(tmp_path))


def test_patterns_must_match_and_be_readable(server):
    with pytest.raises(PedigreeError, match=r"no file matches 'x\*'; there are 4, such as README.md, data/a.parquet"):
        texts(files=("data/*", "x*"))
    with pytest.raises(PedigreeError, match=r"README\.md matches, but can't be read"):
        texts(files=("*",))


def budget(tmp_path, name, **options):
    options = {"files": ("*.jsonl",), **options}
    source = RawSpec(sources=(spec(**options),), documents_per_part=4)
    stats = run(raw.build, tmp_path / name, {}, raw=source)
    return stats, read(tmp_path / name / "out" / "parts")


def test_a_budget_takes_whole_files_and_the_start_of_the_last(server, tmp_path):
    server.page = 100
    server.files = {
        f"{number:02d}.jsonl": lines([f"{number:02d} {'x' * (number % 3)} {row}" for row in range(5)])
        for number in range(20)
    }
    _, everything = budget(tmp_path, "all")
    order = [chosen.file.path for chosen in HuggingFace(spec(files=("*",)))._files()]
    rank = {name: number for number, name in enumerate(order)}
    rows = sorted(everything.iter_rows(named=True), key=lambda row: (rank[row["origin"]], row["row"]))
    for number, (count, size) in enumerate([(3, None), (5, None), (33, None), (None, 100), (None, 333), (41, 9999)]):
        stats, found = budget(tmp_path, f"job {number}", max_documents=count, max_bytes=size)
        expected, taken = [], 0
        for row in rows:
            taken += len(row["text"])
            if len(expected) == (count or 1000) or taken > (size or 10**9):
                break
            expected.append(row["doc_id"])
        assert sorted(found["doc_id"]) == sorted(expected)
        assert stats["documents"] == len(expected)
        assert stats["files_by_source"]["hugging_face"] == len({row["origin"] for row in rows[: len(expected)]})


def test_a_budget_of_tokens_is_one_of_bytes(server, tmp_path):
    server.files = {f"{number}.jsonl": lines([f"{number} {row}" for row in range(9)]) for number in range(3)}
    _, by_tokens = budget(tmp_path, "tokens", max_tokens=10, bytes_per_token=3.3)
    _, by_bytes = budget(tmp_path, "bytes", max_bytes=33)
    assert by_tokens.equals(by_bytes)
    assert by_tokens.height == 11
    with pytest.raises(ValidationError, match="give one of them"):
        spec(max_tokens=10, max_bytes=33)


def test_a_budget_fetches_little_more_than_it_takes(server, tmp_path):
    server.page = 100
    server.files = {f"{number:02d}.jsonl": lines([f"{row}" for row in range(10)]) for number in range(30)}
    budget(tmp_path, "job", max_documents=95)
    assert len([path for path in server.asked if path.startswith(place(""))]) == 10
    first = digests(tmp_path / "job" / "out")
    budget(tmp_path, "again", max_documents=95)
    assert digests(tmp_path / "again" / "out") == first


@pytest.mark.parametrize("name", ["data/a.parquet", "data/b.jsonl"])
def test_a_fetched_file_that_somebody_changed_is_put_aside_and_fetched_again(server, name):
    before = texts()
    (path,) = hub.pedigree_home().rglob(name)
    mine = b"x" * path.stat().st_size
    path.write_bytes(mine)
    assert texts() == before
    assert [aside.read_bytes() for aside in path.parent.glob("*.put_aside-*")] == [mine]
