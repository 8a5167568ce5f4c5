"""What can be named in an experiment, by kind. A new part is one function or file, and one line here.

Only strings: reading this page imports nothing.
"""

from llm_core.registry import Registry

SOURCES = Registry(
    "source",
    {
        "python_docs": "llm_core.data.sources.python_docs:PythonDocs",
        "files": "llm_core.data.sources.files:Files",
    },
)

RULES = Registry(
    "cleaning rule",
    {
        "min_words": "llm_core.data.rules.length:min_words",
        "max_words": "llm_core.data.rules.length:max_words",
        "mean_word_length": "llm_core.data.rules.length:mean_word_length",
        "alphabetic_words": "llm_core.data.rules.characters:alphabetic_words",
        "symbols_per_word": "llm_core.data.rules.characters:symbols_per_word",
        "newlines_per_word": "llm_core.data.rules.characters:newlines_per_word",
        "bullet_lines": "llm_core.data.rules.lines:bullet_lines",
        "ellipsis_lines": "llm_core.data.rules.lines:ellipsis_lines",
        "duplicate_lines": "llm_core.data.rules.lines:duplicate_lines",
        "duplicate_line_characters": "llm_core.data.rules.lines:duplicate_line_characters",
        "punctuated_lines": "llm_core.data.rules.lines:punctuated_lines",
        "short_lines": "llm_core.data.rules.lines:short_lines",
        "stop_words": "llm_core.data.rules.words:stop_words",
    },
)

ARCHITECTURES = Registry("architecture", {"llama": "llm_core.model.llama:Llama"})

NORMS = Registry("norm", {"rmsnorm": "llm_core.model.norms:RMSNorm"})

POSITIONS = Registry("position encoding", {"rope": "llm_core.model.positions:Rope"})

FEED_FORWARDS = Registry("feed-forward", {"swiglu": "llm_core.model.feed_forward:SwiGLU"})

OPTIMIZERS = Registry("optimizer", {"adamw": "llm_core.train.optimizers:adamw"})

SCHEDULES = Registry(
    "learning-rate schedule",
    {
        "cosine": "llm_core.train.schedules:cosine",
        "wsd": "llm_core.train.schedules:wsd",
        "constant": "llm_core.train.schedules:constant",
    },
)
