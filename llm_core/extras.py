"""Error messages for missing optional packages."""

from importlib.util import find_spec

from llm_core.errors import PedigreeError
from llm_core.store.home import PROJECT


def missing(what: str, package: str, extra: str) -> PedigreeError:
    """The error for a missing ``package``. ``what`` is the subject of the message; ``extra`` is our extra that
    installs the package."""
    return PedigreeError(f"{what} needs {package}, which is not installed: {advice(extra)}")


def advice(*extras: str) -> str:
    """The command that installs our ``extras``. Pedigree is on no package index, so pip needs the checkout or the
    wheel."""
    wanted = ",".join(extras)
    if (PROJECT / "pyproject.toml").is_file():
        return f"run `pip install -c constraints.txt -e '.[{wanted}]'` in the checkout"
    return f"run `pip install 'FILE[{wanted}]'`, where FILE is the wheel that Pedigree was installed from"


def is_installed(module: str) -> bool:
    """Whether the top-level ``module`` can be imported. Does not import it."""
    return find_spec(module) is not None
