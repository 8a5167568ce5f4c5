"""The recipes of all shipped experiments, on file: ``python -m tests.assets.golden`` writes ``golden.json``.

For every stage it holds two digests: ``code`` (``llm_core.graph.code_digest``) and ``settings`` (kind, slice of the
experiment, which stage fills which input). Both follow from the files of this checkout alone, so they are the same on
every machine and with every version of Python and of the libraries.

What identities hold beside them is left out, as it depends on the machine: the versions of documented packages and of
Python, the files of sources, what the Hub answers, and the contents of the inputs.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from assets.graph import experiment_graph
from llm_core.experiment.load import load_experiment
from llm_core.graph.code_digest import CodeReader, digest_of, text_digest
from llm_core.graph.identity import code, config
from llm_core.graph.stage import Stage
from llm_core.store.home import PROJECT
from pipelines.experiments import FOLDER

GOLDEN = Path(__file__).with_suffix(".json")
COMMAND = "python -m tests.assets.golden"

Recipes = dict[str, dict[str, dict[str, str]]]
"""Experiment → stage → ``code`` and ``settings`` → digest."""


def recipes() -> Recipes:
    """Those of this checkout, of every experiment in ``pipelines/experiments``."""
    reader = CodeReader(PROJECT)
    return {
        path.stem: {stage.name: _recipe(stage, reader) for stage in experiment_graph(load_experiment(path))}
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def read() -> Recipes:
    """Those on file."""
    known: Recipes = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return known


def undeclared(before: Recipes, now: Recipes) -> list[str]:
    """A line for every experiment with stages whose recipes differ: which ones, and in what."""
    return [
        f"{name}: {', '.join(changed)}"
        for name in sorted(before.keys() | now.keys())
        if (changed := _changed(before.get(name, {}), now.get(name, {})))
    ]


def _recipe(stage: Stage, reader: CodeReader) -> dict[str, str]:
    settings = [stage.kind, config(stage), sorted(stage.inputs.items())]
    return {"code": digest_of(code(stage, reader)), "settings": text_digest(json.dumps(settings).encode())}


def _changed(before: Mapping[str, dict[str, str]], now: Mapping[str, dict[str, str]]) -> list[str]:
    lines = []
    for stage in dict.fromkeys([*now, *before]):
        if stage not in before or stage not in now:
            lines.append(f"{stage} ({'new' if stage in now else 'gone'})")
        elif before[stage] != now[stage]:
            parts = [part for part in now[stage] if now[stage][part] != before[stage].get(part)]
            lines.append(f"{stage} ({' and '.join(parts)})")
    return lines


if __name__ == "__main__":
    before, fresh = read() if GOLDEN.exists() else {}, recipes()
    GOLDEN.write_text(json.dumps(fresh, indent=2) + "\n", encoding="utf-8")
    print("\n".join(undeclared(before, fresh)) or "nothing changed")
