"""The measured speed of matrix products: cached, and measured in another process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.train import matmul_rates as module
from llm_core.train.matmul_rates import MatmulRates, measured_rates


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path))


def test_a_measurement_is_remembered_by_what_it_depends_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[str] = []

    def measured(kind: str) -> MatmulRates:
        made.append(kind)
        return MatmulRates(2e9, float(len(made)))

    monkeypatch.setattr(module, "_measured_in_process", measured)
    first = measured_rates("cpu", "")
    assert measured_rates("cpu", "") == first == MatmulRates(2e9, 1.0)
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        with monkeypatch.context() as patched:  # on any machine
            patched.setenv(name, "another")
            assert measured_rates("cpu", "") != first, name
    assert measured_rates("cpu", "") == first
    monkeypatch.setattr(module, "cpu_model", lambda: "another")
    assert measured_rates("cpu", "") != first
    assert len(made) == 4
    for memory in (tmp_path / "store" / "stamps" / "rates").iterdir():
        memory.write_text("{")
    assert measured_rates("cpu", "").bf16 == 5.0, "a damaged memory is measured again"


def test_products_are_timed_in_a_process_of_their_own() -> None:
    rates = measured_rates("cpu", "")
    assert 1e7 < rates.fp32 < 1e15
    assert 1e6 < rates.bf16 < 1e15


def test_what_goes_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, "x", stderr="Traceback\nRuntimeError: no such instruction\n")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(PedigreeError, match="could not be measured: RuntimeError: no such instruction"):
        measured_rates("cpu", "")


def test_whoever_plans_need_not_import_torch() -> None:
    code = (
        "import json, sys\n"
        "from llm_core.experiment.runtime import ComputeSpec\n"
        "from llm_core.train.capabilities import examine\n"
        "from llm_core.train.this_machine import require_devices\n"
        "examine([], ComputeSpec(), here=True); require_devices(ComputeSpec())\n"
        "print(json.dumps('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) is False
