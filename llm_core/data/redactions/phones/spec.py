"""Telephone numbers as a redaction: its settings."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from llm_core.experiment.cleaning import RedactionSpec
from llm_core.extras import is_installed, missing
from llm_core.registry import load_object

REGIONS = (
    "US",
    "GB",
    "DE",
    "FR",
    "ES",
    "IT",
    "NL",
    "AU",
    "IN",
    "BR",
    "JP",
    "CH",
    "AT",
    "PL",
    "SE",
    "MX",
    "NZ",
    "IE",
)
"""The default regions for telephone numbers in national form.

Regions whose numbers have eight digits and no prefix are not among them: most text of this form is a range or a table.
"""


def _known(regions: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ``ValueError`` for a region without telephone numbers. There is no check without the package."""
    if regions == REGIONS or not is_installed("phonenumbers"):
        return regions
    from phonenumbers import SUPPORTED_REGIONS

    unknown = sorted(set(regions) - SUPPORTED_REGIONS)
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no region of ISO 3166 with telephone numbers (GB, not UK)")
    return regions


class Phones(RedactionSpec):
    """Telephone numbers: those with a country's code, and those in the national form of ``regions``."""

    kind: Literal["phones"] = "phones"
    regions: Annotated[tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...], AfterValidator(_known)] = REGIONS
    """ISO 3166 codes of the regions whose numbers are known in national form."""

    def redacted(self, column: Any) -> Any:
        """See ``RedactionSpec``."""
        return load_object("llm_core.data.redactions.phones.numbers:phones")(column, self.regions)

    def knowledge(self) -> Path:
        """The file with the version of ``phonenumbers``: it changes when the numbering plans change."""
        package = find_spec("phonenumbers")
        if package is None or package.origin is None:
            raise missing("cleaning.redactions: phones", "phonenumbers", "web")
        return Path(package.origin)
