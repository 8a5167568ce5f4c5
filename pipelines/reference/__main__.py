"""Writes docs/settings.md. Run: python -m pipelines.reference."""

from llm_core.store.home import PROJECT
from pipelines.reference.page import page

(PROJECT / "docs" / "settings.md").write_text(page(), encoding="utf-8")
