import errno
import json
import os

import pytest

from llm_core.errors import PedigreeError
from llm_core.train.metrics_log import JsonLinesWriter, MetricsFollower, read_metrics


def opened(path, step: int) -> JsonLinesWriter:
    return JsonLinesWriter(path, lambda line: line["step"] <= step)


def lines(*steps: int) -> str:
    return "".join(f'{{"step": {step}}}\n' for step in steps)


def test_resuming_cuts_what_lies_beyond_the_step_and_a_torn_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1, 2, 3, 4) + '{"step": 5, "lo')
    opened(path, 3).append({"step": 4, "loss": 1.5})
    assert path.read_text() == lines(1, 2, 3) + '{"step": 4, "loss": 1.5}\n'


def test_a_torn_line_within_the_kept_steps_ends_the_file_there(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1) + '{"st')
    opened(path, 5).close()
    assert path.read_text() == lines(1)


def test_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    opened(path, 0).append({"step": 1, "loss": float("nan"), "grad_norm": float("inf"), "skipped": True})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "step": 1,
        "loss": None,
        "grad_norm": None,
        "skipped": True,
    }


def test_what_is_not_finite_deep_down_is_null_too(tmp_path):
    path = tmp_path / "metrics.jsonl"
    opened(path, 0).append({"step": 1, "sequences": [{"sequence": 3, "loss": float("nan")}]})
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["sequences"] == [{"sequence": 3, "loss": None}]


def test_reading_leaves_torn_lines_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1, 2) + '{"step": 3}')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]


def test_a_follower_sees_whole_new_lines_and_survives_a_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1, 2))
    follower = MetricsFollower(path)
    assert follower.new() == []
    path.write_text(lines(1, 2, 3) + '{"step"')
    assert follower.new() == [{"step": 3}]
    path.write_text(lines(1))
    assert follower.new() == []
    path.write_text(lines(1, 2))
    assert follower.new() == [{"step": 2}]
    assert follower.idle_seconds() < 5


def test_a_follower_may_start_before_the_file(tmp_path):
    follower = MetricsFollower(tmp_path / "metrics.jsonl")
    assert follower.new() == []
    (tmp_path / "metrics.jsonl").write_text(lines(1))
    assert follower.new() == [{"step": 1}]


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(PedigreeError, match=r"file/metrics\.jsonl: can't be written: a file stands where"):
        opened(tmp_path / "file" / "metrics.jsonl", 0)
    writer = opened(tmp_path / "metrics.jsonl", 0)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(PedigreeError, match=r"metrics\.jsonl.*the disk is full: make room"):
        writer.append({"step": 1})
