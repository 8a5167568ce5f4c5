"""The results of the stage ``imported_model``."""

from llm_core.graph.results import Results, volatile


class ImportedModel(Results):
    """A model that was trained elsewhere."""

    parameters: int
    vocab_size: int
    longest: int | None
    """Tokens of the longest text that it was made for; None where its files do not say."""
    tokenizer_known: bool
    """Whether its files contain its tokenizer, which the experiment's was compared with."""
    origin: dict[str, str] = volatile()
    """Where its files were: ``experiment``, ``stage`` and ``identity``; or ``folder``; or ``hugging_face`` and
    ``revision``. For a folder of ``transformers`` also its ``family``."""
