import subprocess
import sys
from pathlib import Path

from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.compiling import COMPILING, telling
from llm_core.graph.job import Job, Runtime
from llm_core.graph.part import InputFile, PartTask
from llm_core.store.digests import file_digest


def test_compiling_is_told_once_and_its_end_too() -> None:
    from tests.graph.kernels import doubled

    said: list[str] = []
    with telling(said.append):
        assert doubled(2) == 4
        assert doubled(3) == 6
    assert said == [COMPILING, ""]
    with telling(said.append):
        assert doubled(4) == 8
    assert len(said) == 2


def test_it_does_not_load_numba() -> None:
    code = """
import sys
from llm_core.graph.compiling import telling
with telling(print):
    pass
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_workers_tell_it_too(tmp_path: Path) -> None:
    from tests.graph.kernels import double

    said: list[str] = []
    out = tmp_path / "out"
    out.mkdir()
    tasks = []
    for name in ("1", "2"):
        path = tmp_path / name
        path.write_text(name)
        tasks.append(PartTask(name, double, {"text": InputFile(name, path, file_digest(path))}, {}))
    Job("stage", "identity", {}, tmp_path, out, Runtime(ComputeSpec(workers=2), status=said.append)).map(tasks)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"1.txt": "2", "2.txt": "4"}
    assert set(said) == {COMPILING, ""}
