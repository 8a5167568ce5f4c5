"""Every stage of the micro experiment under a profiler.

Code of the project that runs is in the stage's digest, or marked; and few functions only pass their arguments on.
"""

import json
import re
import sys
from typing import Any

import pytest

from llm_core.graph.code_digest import digest_of
from llm_core.store.home import PROJECT
from tests.assets.executed_code import COUNTED, UNSEEN, Profiler
from tests.assets.forwarding import Hops
from tests.pipelines.conftest import make_world

MOST_HOPS = 3
"""Functions in a row that only pass their arguments on. More, and a reader loses the way."""
ROW = re.compile(r"^\| \d+ \| `([\w.]+)` \| `([\w/.]+)` \| (yes)? ?\|", re.MULTILINE)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    world = make_world(tmp_path_factory.mktemp("world"))
    done = world.run("tests.assets.executed_code", str(world.experiment))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def executed(profiled: dict[str, Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = profiled["executed"]
    return found


def test_no_function_is_reached_through_many_forwarding_hops(profiled: dict[str, Any]) -> None:
    long = {name: row for name, row in profiled["hops"].items() if len(row) > MOST_HOPS}
    assert not long, "call these functions directly: so many in a row only pass their arguments on"


def test_the_way_of_a_document_is_as_the_documentation_says(profiled: dict[str, Any]) -> None:
    rows = ROW.findall((PROJECT / "docs/design.md").read_text(encoding="utf-8"))
    assert len(rows) > 20
    names = {f"{file.removesuffix('.py').replace('/', '.')}:{function}": bool(hop) for function, file, hop in rows}
    assert not names.keys() - profiled["hops"].keys(), "these functions were not called"
    hops = {name for row in profiled["hops"].values() for name in row}
    assert {name for name, hop in names.items() if hop} == names.keys() & hops


def _first(value: int) -> int:
    return _second(value)


def _second(value: int) -> int:
    return _third(value, 1)


def _third(value: int, more: int) -> int:
    return value + more


def test_forwarding_hops_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.assets.forwarding.PACKAGES", ("tests",))
    hops = Hops()
    sys.settrace(lambda frame, *_: hops(frame))
    _first(1)
    sys.settrace(None)
    here = "tests.assets.test_executed_code"
    assert hops.longest[f"{here}:_third"] == [f"{here}:_first", f"{here}:_second"]


def test_all_executed_code_counts_or_is_marked(executed: dict[str, dict[str, str]]) -> None:
    unseen = {
        stage: names
        for stage, states in executed.items()
        if (names := [name for name, state in states.items() if state == UNSEEN])
    }
    assert not unseen, (
        "This code of the project runs while these stages are made, and is in none of their digests: changed, it gives "
        "other artifacts the same identity.\n"
        + "\n".join(f"{stage}: {', '.join(names)}" for stage, names in unseen.items())
        + "\nLet the stage's build function reach it by name, or list it in the stage's `code`; if it can't change a "
        "result, mark it `@runtime_only`."
    )


def test_every_kind_of_stage_was_looked_at(executed: dict[str, dict[str, str]]) -> None:
    seen = {
        "clean_documents": "llm_core.data.clean:build",
        "unique_documents": "llm_core.data.kernels.minhash:_signatures",
        "tokenizer": "llm_core.tokens.kernels.merges:learn_merges",
        "pretrained_model": "llm_core.train.loop:train",
        "eval_results": "llm_core.evals.lm:PedigreeLM",
        "training_report": "llm_core.report.page:write_page",
    }
    assert {stage: executed[stage].get(name) for stage, name in seen.items()} == dict.fromkeys(seen, COUNTED)


def test_the_profiler_finds_what_no_digest_holds() -> None:
    profiler = Profiler()
    profiler.counted = {"llm_core.graph.code_digest:digest_of"}
    sys.settrace(profiler)
    digest_of({})
    sys.settrace(None)
    assert profiler.seen == {
        "llm_core.graph.code_digest:digest_of": COUNTED,
        "llm_core.graph.code_digest:text_digest": UNSEEN,
    }
