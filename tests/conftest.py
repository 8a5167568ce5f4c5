import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _devices_of_their_own(tmp_path_factory):
    """Tests neither wait for trainings that go on elsewhere on this machine, nor hold them up."""
    os.environ["PEDIGREE_LOCKS"] = str(tmp_path_factory.mktemp("locks"))


def pytest_collection_modifyitems(items):
    """The slowest files first, so that in the end no process is left alone with one of them; tests marked ``gpu`` are
    skipped where there is none."""
    items.sort(key=lambda item: "pipelines" not in item.path.parts)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
