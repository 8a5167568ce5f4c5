"""Every stage of the micro experiment under a profiler: code of the project that runs is in its digest, or marked."""

import json
import sys

import pytest

from llm_core.graph.code_digest import digest_of
from tests.assets.executed_code import COUNTED, UNSEEN, Profiler
from tests.pipelines.conftest import make_world


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    world = make_world(tmp_path_factory.mktemp("world"))
    done = world.run("tests.assets.executed_code", str(world.experiment))
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


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
