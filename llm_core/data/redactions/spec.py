"""Redactions without settings."""

from typing import Any, Literal

from llm_core.experiment.cleaning import RedactionSpec
from llm_core.registry import load_object


class Citations(RedactionSpec):
    """``[1]``, ``[edit]`` and ``[citation needed]``, as C4's code removes them (Raffel et al., 2020)."""

    kind: Literal["citations"] = "citations"

    def redacted(self, column: Any) -> Any:
        """See ``RedactionSpec``."""
        return load_object("llm_core.data.redactions.pieces:citations")(column)


class Emails(RedactionSpec):
    """E-mail addresses."""

    kind: Literal["emails"] = "emails"

    def redacted(self, column: Any) -> Any:
        """See ``RedactionSpec``."""
        return load_object("llm_core.data.redactions.pieces:emails")(column)


class PublicAddresses(RedactionSpec):
    """IP addresses, but for private and other special ones, which tell nothing about a person."""

    kind: Literal["public_ips"] = "public_ips"

    def redacted(self, column: Any) -> Any:
        """See ``RedactionSpec``."""
        return load_object("llm_core.data.redactions.pieces:public_ips")(column)


class Addresses(RedactionSpec):
    """All IP addresses."""

    kind: Literal["ips"] = "ips"

    def redacted(self, column: Any) -> Any:
        """See ``RedactionSpec``."""
        return load_object("llm_core.data.redactions.pieces:ips")(column)
