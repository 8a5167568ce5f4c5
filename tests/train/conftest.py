import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Models this small lose more than they gain by threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
