import os
import subprocess
import sys

import pytest

from llm_core.train.host_memory import keeping_memory

FAULTS = """
import resource
import numpy as np
def step():
    np.ones(2**23) + 1  # 64 MB, twice
for _ in range(3): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(environment: dict[str, str]) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_the_users_own_words_and_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    assert "THP_MEM_ALLOC_ENABLE" not in keeping_memory()
    assert keeping_memory()["MALLOC_MMAP_MAX_"] == "0"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keeping_memory() == {}


def test_freed_memory_is_used_again_without_the_kernel() -> None:
    assert faults(keeping_memory()) < 0.1 * faults({"MALLOC_TRIM_THRESHOLD_": "131072"})
