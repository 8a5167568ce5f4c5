import os
from collections import Counter

import pytest


@pytest.fixture(scope="session", autouse=True)
def _devices_of_their_own(tmp_path_factory):
    """Tests neither wait for trainings that go on elsewhere on this machine, nor hold them up."""
    os.environ["PEDIGREE_LOCKS"] = str(tmp_path_factory.mktemp("locks"))


def pytest_xdist_auto_num_workers():
    """One process more than there are cores: tests wait for processes that they start, and for locks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1


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
        return item.path != maker, "pipelines" not in folders, item.path in users, "train" not in folders

    items.sort(key=late)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
