import gc
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from llm_core import loaded_code, plugins, registries
from llm_core.collection import paused_collection
from llm_core.registry import Registry

# Tests keep many objects (libraries, syntax trees), through which the collector would go every few moments.
gc.set_threshold(100_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is there after the collection of tests stays: no search for garbage, also at the end, goes through it."""
    with paused_collection(keep=True):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _devices_of_their_own(tmp_path_factory):
    """Tests neither wait for trainings that go on elsewhere on this machine, nor hold them up."""
    os.environ["PEDIGREE_LOCKS"] = str(tmp_path_factory.mktemp("locks"))


def pytest_xdist_auto_num_workers():
    """One process more than there are cores: tests wait for processes that they start, and for locks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


@pytest.fixture
def plugin_folder(tmp_path, monkeypatch):
    """A folder from which modules can be imported; what they add to the registries goes with the test."""
    for table in vars(registries).values():
        if isinstance(table, Registry):
            monkeypatch.setattr(table, "_targets", dict(table))
            monkeypatch.setattr(table, "_plugins", dict(table._plugins))
    monkeypatch.setattr(plugins, "_LOADED", dict(plugins._LOADED))
    monkeypatch.setattr(loaded_code, "_WATCHED", set(loaded_code._WATCHED))
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(str(getattr(sys.modules[name], "__file__", ""))).is_relative_to(tmp_path):
            del sys.modules[name]
            loaded_code.LOADED.pop(name, None)


def pytest_collection_modifyitems(items):
    """The slowest files first, so that in the end no process is left alone with one of them; tests marked ``gpu`` are
    skipped where there is none.

    One file makes the world that the fixture ``finished`` stands for; the others that need it come a while later, so
    that they need not wait for it.
    """
    users = Counter(item.path for item in items if "finished" in item.fixturenames)
    maker = max(users, key=users.__getitem__, default=None)

    def late(item) -> tuple[bool, ...]:
        folders = item.path.parts
        alone = item.path.parent.name == "tests"  # among them, one that runs tests in a copy of the code
        return item.path != maker, "pipelines" not in folders, item.path in users, not alone, "train" not in folders

    items.sort(key=late)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
