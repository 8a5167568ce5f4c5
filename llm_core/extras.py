"""What to say when a package is missing that not every installation has."""

from importlib.util import find_spec

from llm_core.errors import PedigreeError
from llm_core.store.home import PROJECT


def missing(what: str, package: str, extra: str) -> PedigreeError:
    """The error for ``what`` (a subject) that needs ``package``, which comes with our extra ``extra``."""
    return PedigreeError(f"{what} needs {package}, which is not installed: {advice(extra)}")


def advice(*extras: str) -> str:
    """What installs our ``extras``. Pedigree is on no package index: pip is given the checkout, or the wheel."""
    wanted = ",".join(extras)
    if (PROJECT / "pyproject.toml").is_file():
        return f"run `pip install -c constraints.txt -e '.[{wanted}]'` in the checkout"
    return f"run `pip install 'FILE[{wanted}]'`, where FILE is the wheel that Pedigree was installed from"


def is_installed(module: str) -> bool:
    """Whether ``module`` (a top-level one) could be imported; it is not loaded."""
    return find_spec(module) is not None
