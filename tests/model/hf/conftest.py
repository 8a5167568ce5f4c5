from collections.abc import Iterator

import pytest
import torch
import transformers
import transformers.dynamic_module_utils


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Thousands of tiny products: threads would wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _code_of_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """``transformers`` copies code of exported folders here, and not into a user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        cache = str(tmp_path_factory.mktemp("modules"))
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
        yield
