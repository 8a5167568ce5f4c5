"""Which of the patterns that cut texts llama.cpp has. It knows them by name; a file can't bring a pattern along."""

from llm_core.tokens.patterns import PATTERNS


def pre_tokenizer(pattern: str, whole_pieces: bool) -> str | None:
    """llama.cpp's name (``tokenizer.ggml.pre``) of a regular expression; None if it has none like it.

    ``whole_pieces``: whether a piece that is an entry becomes that entry without merging. llama.cpp decides this by the
    name, too: ``llama-bpe`` does so, and ``smaug-bpe`` has the same pattern and merges.
    """
    names = {
        (PATTERNS["llama3"], True): "llama-bpe",
        (PATTERNS["llama3"], False): "smaug-bpe",
        (PATTERNS["gpt2"], False): "gpt-2",
    }
    return names.get((pattern, whole_pieces))
