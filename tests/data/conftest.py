import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Digests of source files are remembered there, and never in the checkout."""
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "pedigree"))
