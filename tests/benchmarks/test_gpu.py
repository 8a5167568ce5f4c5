"""The command for a machine with a GPU, at toy size on a CPU."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import LEAST_SECONDS, PAGE, Case, main, outcomes, pytest_command, shown
from benchmarks.gpu_cases import BANDWIDTH, STEPS, Setting, fitting, formula_bytes, roofline_seconds, step, toy
from llm_core.experiment.devices import DEVICES
from llm_core.store.home import PROJECT
from llm_core.train.hardware import planned

CPU = torch.device("cpu")
HEAVY = (
    "dagster polars duckdb yaml numba tokenizers rich typer lm_eval transformers wandb zstandard tiktoken xxhash "
    "hypothesis matplotlib"
)


def test_a_dry_run_writes_its_page_and_an_error_stops_no_other_case(tmp_path: Path) -> None:
    before = PAGE.read_bytes() if PAGE.exists() else None
    page = tmp_path / "page.md"
    names = ["rates of the device", "fp8", "mixattention_1b, the model of one_billion"]
    assert main(["--dry-run", str(page), "--steps", "2", "--only", *names]) == 1, "fp8 needs a GPU"
    text = page.read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(f"| {names[2]}")]
    assert [row[1] for row in rows] == ["2 × 64"] * 2, "what is expected, and what was measured"
    assert float(rows[1][2].replace(",", "")) > 0
    assert "**fp8** (failed)" in text
    assert "fp8 needs a GPU of compute capability 8.9" in text
    assert str(PROJECT) not in text
    assert "A large product runs at" in text
    assert "every case had its turn" in text
    assert (PAGE.read_bytes() if PAGE.exists() else None) == before


def test_the_page_of_measurements_takes_no_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--dry-run", str(PAGE)])
    assert "give --dry-run another file" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--page", str(tmp_path / "page.md")]) == 1
    assert "Run this on a machine with one, or try it on a CPU with --dry-run FILE" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_there_is_no_time_for_is_listed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert main(["--dry-run", str(page), "--minutes", "0"]) == 0
    left = page.read_text().partition("## Not reached")[2]
    assert [line for line in left.splitlines() if "fp8" in line] == [
        f"- {name}: not reached" for name in STEPS if "fp8" in name
    ]
    assert "- the trainer itself: not reached" in left


def test_a_case_that_hangs_is_ended_and_shows_its_last_lines(tmp_path: Path) -> None:
    hanging = "import time; print('compiling', flush=True); time.sleep(60)"
    case = Case("hanging", [sys.executable, "-c", hanging], seconds=2.0)
    case.run(LEAST_SECONDS, tmp_path)
    assert case.outcome == "out of time after 2 s"
    assert case.tail == "compiling"
    assert not case.found


def test_all_that_a_cpu_can_do_gives_the_same_losses() -> None:
    settings = {
        name: toy(setting)
        for name, setting in STEPS.items()
        if setting.precision == "bf16" and setting.attention not in ("flex", "varlen")
    }
    losses = {setting: step(setting, CPU, 1)["loss"] for setting in dict.fromkeys(settings.values())}
    found = {name: losses[setting] for name, setting in settings.items()}
    base = found["llama3_1b"]
    for name in ("recompute all", "recompute selectively", "recompute every second block"):
        assert found[name] == base
    for name in ("all logits at once", "transformers"):
        assert found[name] == pytest.approx(base, abs=0.02)


def test_a_roofline_by_hand() -> None:
    setting = Setting()
    blocks, head, heads, tokens = 16 * 60_817_408, 32_768 * 2048, 16 * 4 * 2048 * 2048, 8 * 2048
    products = tokens * (6 * (blocks + head) + 3.5 * heads / 2)
    assert roofline_seconds(setting, 1e15, 1e30) == pytest.approx(products / 1e15)
    fp8 = products - tokens * 3 * blocks
    assert roofline_seconds(replace(setting, precision="fp8"), 1e15, 1e30) == pytest.approx(fp8 / 1e15)
    seconds = {name: roofline_seconds(one, 989e12, BANDWIDTH["H100"]) for name, one in STEPS.items()}
    assert seconds["fp8"] < seconds["llama3_1b"] == seconds["recompute selectively"]
    assert seconds["llama3_1b"] < seconds["recompute every second block"] < seconds["recompute all"]
    assert seconds["document mask: flex"] < seconds["document mask: sdpa"]


def test_a_smaller_card_gets_fewer_sequences() -> None:
    assert BANDWIDTH.keys() == DEVICES.keys()
    for name in ("H200", "RTX PRO 4500"):
        machine = planned(DEVICES[name], 1)
        chosen = fitting(Setting(), machine)
        assert chosen is not None
        assert (chosen.sequences == 8) == (name == "H200")
        assert formula_bytes(chosen, machine) <= machine.usable_memory
    assert fitting(Setting(), planned(DEVICES["A10G"].model_copy(update={"memory_gb": 12}), 1)) is None


def test_outcomes_of_tests_are_read_with_and_without_workers() -> None:
    lines = [
        "tests/train/test_fp8.py::test_kernel PASSED                  [ 12%]",
        "tests/model/test_attending.py::test_agree[dtype0-plain-two words] FAILED [ 25%]",
        "[gw1] [ 50%] SKIPPED tests/train/test_loop.py::test_waits[adamw] ",
        "FAILED tests/model/test_attending.py::test_agree[dtype0-plain-two words] - assert 1 == 2",
    ]
    assert outcomes(lines) == {
        "tests/train/test_fp8.py::test_kernel": "PASSED",
        "tests/model/test_attending.py::test_agree[dtype0-plain-two words]": "FAILED",
        "tests/train/test_loop.py::test_waits[adamw]": "SKIPPED",
    }


def test_nothing_of_this_machine_is_shown() -> None:
    lines = [
        f'  File "{PROJECT}/llm_core/a.py", line 1',
        '  File "/x/lib/python3.11/site-packages/torch/b.py", line 2',
        "    ^^^^",
        '  File "/y/lib/python3.12/runpy.py", line 3',
    ]
    assert shown(lines) == [
        '  File "llm_core/a.py", line 1',
        '  File "torch/b.py", line 2',
        '  File "runpy.py", line 3',
    ]


def test_it_needs_no_more_than_the_trainer() -> None:
    """The command and the tests that it runs, with the packages of a bare machine and pytest."""
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY.split()!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import pytest
import benchmarks.gpu, benchmarks.gpu_cases
sys.exit(pytest.main(["--collect-only", "-p", "no:hypothesispytest", *{pytest_command()[3:]!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_backends_agree_on_cuda" in done.stdout
