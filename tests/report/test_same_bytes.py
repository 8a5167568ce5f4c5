"""Reports are the same bytes for the same contents, whenever, wherever and by whichever process they are made."""

import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from assets.graph import experiment_graph
from llm_core.experiment.load import load_experiment
from llm_core.graph.job import Job
from llm_core.registry import load_object
from llm_core.report import data_report, training_report
from llm_core.store.manifest import Artifact
from pipelines.experiments import experiment_file
from tests.report import conftest, data_story

REPORTS = ("training_report", "data_report")


def build_all(folder: Path, clock: float) -> None:
    """All reports over the same contents, as they are when the clock says ``clock``."""
    told = {
        "training_report": conftest.story(folder / "story"),
        "data_report": data_story.story(folder / "data"),
    }
    for name, inputs in told.items():
        out = folder / name
        out.mkdir()
        job = Job(name, "i", {role: at(item, clock) for role, item in inputs.items()}, out, out)
        results = {
            "training_report": lambda job=job: training_report.build(job, "tiny", 2.0, {}),
            "data_report": lambda job=job: data_report.build(job, "tiny", data_story.CLEANING, {}),
        }[name]()
        (folder / f"{name}.json").write_text(results.model_dump_json())


def at(item: Artifact, clock: float) -> Artifact:
    """The same content, made then: with other clock times, on another machine, from another commit."""
    stats = dict(item.stats)
    if "seconds_training" in stats:
        stats |= {
            "seconds_training": clock,
            "tokens_per_second": 1e6 / clock,
            "device": f"GPU {clock}",
            "mfu": 1 / clock,
        }
        stats |= {"peak_memory_bytes": int(clock * 1e9), "ranks": int(clock)}
    metrics = item.path / "metrics.jsonl"
    if metrics.exists():
        rows = [{**json.loads(line), "tokens_per_second": clock} for line in metrics.read_text().splitlines()]
        metrics.write_text("".join(json.dumps({**row, "time": clock}) + "\n" for row in rows))
    changes: dict[str, Any] = {
        "started": f"20{clock:02.0f}-01-01T00:00:00+00:00",
        "seconds": clock,
        "host": f"h{clock}",
    }
    changes |= {"identity": f"{int(clock):032d}", "git_commit": f"{int(clock):040d}", "versions": {"torch": str(clock)}}
    return Artifact(item.path, item.manifest.model_copy(update={**changes, "stats": stats}))


def lasting(folder: Path, name: str) -> dict[str, Any]:
    """What counts as the content of a report: files and statistics, but for those that its stage declares volatile."""
    stage = experiment_graph(load_experiment(experiment_file("tiny")))[name]
    files = {path.relative_to(folder / name).as_posix(): path for path in (folder / name).rglob("*") if path.is_file()}
    stats = json.loads((folder / f"{name}.json").read_text())
    return {
        **{
            file: path.read_bytes() for file, path in files.items() if not any(fnmatch(file, p) for p in stage.volatile)
        },
        **{key: value for key, value in stats.items() if key not in load_object(stage.results).volatile()},
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The reports made here; again by a process that differs in all that it can; and once more by the clock of here."""
    folders = tuple(tmp_path_factory.mktemp(name) for name in ("here", "there", "again"))
    build_all(folders[0], 3.0)
    (folders[1] / "matplotlibrc").write_text("lines.linewidth: 9\naxes.formatter.use_locale: True\nfont.size: 20\n")
    elsewhere = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(folders[1])}
    code = "import sys; from pathlib import Path; from tests.report.test_same_bytes import build_all; " + "".join(
        f"build_all(Path({str(folder)!r}), {clock}); " for folder, clock in zip(folders[1:], (5.0, 3.0), strict=True)
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **elsewhere}, check=True, timeout=300)
    return folders[0], folders[1], folders[2]


@pytest.mark.parametrize("name", REPORTS)
def test_the_same_contents_give_the_same_bytes(made: tuple[Path, Path, Path], name: str) -> None:
    here, there, _ = (lasting(folder, name) for folder in made)
    assert [file for file in {**here, **there} if here.get(file) != there.get(file)] == []
    assert sum(file.endswith((".html", ".png", ".json")) for file in here) >= 4


@pytest.mark.parametrize("name", REPORTS)
def test_the_same_artifacts_give_the_same_bytes_everywhere(made: tuple[Path, Path, Path], name: str) -> None:
    here, _, again = (folder / name for folder in made)
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [file for file in files if (here / file).read_bytes() != (again / file).read_bytes()] == []
