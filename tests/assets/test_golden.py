import copy
import json
import os
import subprocess
import sys
from pathlib import Path

from llm_core.store.home import PROJECT
from tests.assets.golden import COMMAND, GOLDEN, read, recipes, undeclared


def test_a_changed_recipe_is_declared() -> None:
    changed = undeclared(read(), recipes())
    assert not changed, (
        "This change gives other identities to stages of shipped experiments. Whoever has made them makes them again, "
        "and what follows from them:\n\n  " + "\n  ".join(changed) + "\n\n"
        "Is it meant? Then declare it: run\n\n"
        f"  {COMMAND}\n\n"
        f"commit {GOLDEN.relative_to(PROJECT)} together with the change, and say in the message of the commit which "
        "stages are made again and why. Is it not meant? Then find out what the stages reach: `pedigree plan "
        "EXPERIMENT` names the functions and fields over a store that has them; `@runtime_only` marks what can't "
        "change a result."
    )


def test_the_change_is_named() -> None:
    before = read()
    now = copy.deepcopy(before)
    now["tiny"]["tokenizer"]["code"] = "other"
    now["tiny"]["eval_results"] = {"code": "other", "settings": "other"}
    now["proxy"]["more"] = now["proxy"].pop("tokenizer")
    now["mine"] = {"tokenizer": now["tiny"]["tokenizer"]}
    assert undeclared(before, before) == []
    assert undeclared(before, now) == [
        "mine: tokenizer (new)",
        "proxy: more (new), tokenizer (gone)",
        "tiny: tokenizer (code), eval_results (code and settings)",
    ]


def test_recipes_depend_on_the_checkout_alone(tmp_path: Path) -> None:
    program = "import json; from tests.assets.golden import recipes; print(json.dumps(recipes()))"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT),
        "PYTHONHASHSEED": "7",
        "HOME": str(tmp_path),
        "PEDIGREE_HOME": str(tmp_path / "other"),
        "LC_ALL": "C",
        "TZ": "Pacific/Chatham",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == json.dumps(recipes())
