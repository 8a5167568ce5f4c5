"""Documents to token files."""

from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage


def stages(experiment: Experiment) -> list[Stage]:
    """The tokenizer, and the shards that training reads."""
    return [
        Stage(
            name="tokenizer",
            group="tokens",
            description="Byte-pair encoding, trained on the training split or imported.",
            build="llm_core.tokens.train:build",
            parts="llm_core.tokens.train:parts",
            externals="llm_core.tokens.importing:externals",
            checks="llm_core.tokens.train:checks",
            gates=("unk_rate",),
            advice=("vocabulary_reached",),
            inputs={"documents": "pretraining_documents"},
            config={"tokenizer": experiment.tokenizer, "form": experiment.cleaning.form()},
            bounds=experiment.checks,
            frozen=experiment.tokenizer.freeze,
        ),
        Stage(
            name="token_shards",
            group="tokens",
            description="Token ids of both splits, and which document every token came from.",
            build="llm_core.tokens.shards:build",
            parts="llm_core.tokens.shards:parts",
            checks="llm_core.tokens.shards:checks",
            gates=("not_empty", "token_counts", "document_ends", "round_trip", "unused_entries"),
            advice=("empty_parts",),
            inputs={"documents": "pretraining_documents", "tokenizer": "tokenizer"},
            config={"shards": experiment.shards},
            bounds=experiment.checks,
        ),
    ]
