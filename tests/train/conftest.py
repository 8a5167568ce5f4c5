import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Threads slow such small models down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package", autouse=True)
def _home(tmp_path_factory):
    """Cache measurements of this machine there, and not in the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(tmp_path_factory.mktemp("home")))
        yield
