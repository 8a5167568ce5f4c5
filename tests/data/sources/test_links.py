"""Links to folders are followed, and no folder is read twice."""

from pathlib import Path

import pytest

from llm_core.data.sources.paths import find_files
from llm_core.errors import PedigreeError


def is_jsonl(name: str) -> bool:
    return name.endswith(".jsonl")


def found(*patterns: Path) -> list[str]:
    return list(find_files("web", [str(pattern) for pattern in patterns], is_jsonl).files)


def made(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


@pytest.mark.parametrize("pattern", ["", "**/*.jsonl", "*/**/*.jsonl"])
def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path, pattern):
    made(tmp_path / "elsewhere", "a.jsonl", "deep/b.jsonl")
    made(tmp_path / "in", "own/c.jsonl")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "in" / pattern) == ["link/a.jsonl", "link/deep/b.jsonl", "own/c.jsonl"]


@pytest.mark.parametrize("pattern", ["", "**/*.jsonl", "**"])
def test_circles_of_links_end_and_a_file_keeps_its_own_name(tmp_path, pattern):
    """With two links in a circle, names of 40 links would be 2^40."""
    folder = made(tmp_path / "in", "one/a.jsonl", "z/y/b.jsonl", "two/c.jsonl")
    (folder / "one" / "up").symlink_to(folder)
    (folder / "two" / "one").symlink_to(folder / "one")
    (folder / "two" / "self").symlink_to(".")
    (folder / "short").symlink_to(folder / "z" / "y")
    assert found(folder / pattern) == ["one/a.jsonl", "two/c.jsonl", "z/y/b.jsonl"]


def test_of_several_links_to_a_folder_the_shortest_counts(tmp_path):
    made(tmp_path / "elsewhere", "a.jsonl")
    folder = made(tmp_path / "in", "a/b/own.jsonl")
    (folder / "a" / "b" / "long").symlink_to(tmp_path / "elsewhere")
    (folder / "z").symlink_to(tmp_path / "elsewhere")
    assert found(folder) == ["a/b/own.jsonl", "z/a.jsonl"]


def test_links_to_hidden_folders_are_followed_and_hidden_names_are_not(tmp_path):
    folder = made(tmp_path / "in", ".kept/a.jsonl", ".hidden/b.jsonl", "c.jsonl")
    (folder / "shown").symlink_to(folder / ".kept")
    for pattern in ("", "**/*.jsonl"):
        assert found(folder / pattern) == ["c.jsonl", "shown/a.jsonl"]
    assert found(folder / ".hidden" / "*.jsonl") == ["b.jsonl"]
    assert found(folder / ".h*" / "*.jsonl") == [".hidden/b.jsonl"]


def test_a_folder_that_is_itself_a_link_is_read(tmp_path):
    made(tmp_path / "elsewhere", "a.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "link") == found(tmp_path / "link" / "**" / "*.jsonl") == ["a.jsonl"]


def test_what_a_folder_holds_of_other_kinds_is_listed(tmp_path):
    made(tmp_path / "elsewhere", "y.pdf")
    folder = made(tmp_path / "in", "a.jsonl", "b.pdf", "deep/c", ".hidden")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    names = ["b.pdf", "deep/c", "link/y.pdf"]
    assert sorted(find_files("web", [str(folder)], is_jsonl).unread) == names
    assert sorted(find_files("web", [str(folder), str(folder / "**/*.jsonl")], is_jsonl).unread) == names
    assert find_files("web", [str(folder / "*.jsonl")], is_jsonl).unread == []


def test_hidden_files_that_could_be_read_are_listed(tmp_path):
    names = [".a.jsonl", ".cache/deep/.b/c.jsonl", "own/.d.jsonl"]
    folder = made(tmp_path / "in", "x.jsonl", ".kept/y.jsonl", ".git/config", ".DS_Store", *names)
    (folder / "shown").symlink_to(folder / ".kept")
    (folder / ".cache" / "up").symlink_to(folder)
    assert sorted(find_files("web", [str(folder)], is_jsonl).unread) == names
    assert find_files("web", [str(folder), str(folder / ".*.jsonl")], is_jsonl).unread == [names[1], names[2]]
    with pytest.raises(PedigreeError, match=r"no file matches .*own; .*such as \.d\.jsonl, are hidden"):
        found(folder / "own")


def test_a_folder_of_unknown_formats_alone_is_told(tmp_path):
    folder = made(tmp_path / "in", "b.pdf")
    with pytest.raises(
        PedigreeError, match=r"no file matches .*in; .*the 1 files there, such as b\.pdf, are hidden or of no known"
    ):
        found(folder)
