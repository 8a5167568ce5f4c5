"""The stages from documents to token files."""

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
            results="llm_core.tokens.results:TrainedTokenizer",
            parts=":parts",
            source_digests="llm_core.tokens.importing:source_digests",
            blocking=(":unk_rate",),
            non_blocking=(":vocabulary_reached",),
            inputs={"documents": "pretraining_documents"},
            config={"tokenizer": experiment.tokenizer, "form": experiment.cleaning.form()},
            bounds=experiment.checks,
            frozen=experiment.tokenizer.freeze,
        ),
        Stage(
            name="token_shards",
            group="tokens",
            description="Token ids of both splits, with the document of every token.",
            build="llm_core.tokens.shards:build",
            results="llm_core.tokens.results:TokenShards",
            parts=":parts",
            blocking=(":not_empty", ":token_counts", ":document_ends", ":round_trip", ":unused_entries"),
            non_blocking=(":empty_parts",),
            inputs={"documents": "pretraining_documents", "tokenizer": "tokenizer"},
            config={"shards": experiment.shards},
            bounds=experiment.checks,
        ),
    ]
