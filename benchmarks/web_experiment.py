"""An experiment over a folder of text with every rule of the data chain on, for the benchmarks that run it."""

from pathlib import Path
from typing import Any

SUITES = {
    "zorro": {"kind": "minimal_pairs"},
    "hellaswag_val": {"kind": "multiple_choice"},
    "lambada_openai": {"kind": "last_word"},
    "wikitext2_valid": {"kind": "perplexity"},
}
"""Files of the folder ``eval`` beside the text that documents are decontaminated against, where they are there."""


def web_experiment(text: Path, workers: int, vocab_size: int = 32_768) -> dict[str, Any]:
    """The content of its YAML file: one source for every file of ``text``, in the order of their names."""
    files = sorted(path.resolve() for path in text.iterdir() if ".jsonl" in path.suffixes)
    if not files:
        raise SystemExit(f"{text}: holds no .jsonl files, plain or compressed")
    evals = text.resolve().parent / "eval"
    suites = [
        {"name": name, **suite, "path": str(evals / f"{name}.jsonl.zst")}
        for name, suite in SUITES.items()
        if (evals / f"{name}.jsonl.zst").is_file()
    ]
    names = sorted({path.name.split(".")[0] for path in files})
    return {
        "name": "web",
        "raw": {
            "sources": [
                {"kind": "files", "name": name, "paths": [str(p) for p in files if p.name.split(".")[0] == name]}
                for name in names
            ]
        },
        "cleaning": {"preset": "fineweb", "redactions": ["citations", "emails", "ips", "phones"]},
        "dedup": {"method": "minhash"},
        "evaluation": {"suites": suites},
        "tokenizer": {"vocab_size": vocab_size},
        "model": {
            "d_model": 64,
            "n_layers": 1,
            "mixer": {"kind": "attention", "n_heads": 2, "n_kv_heads": 1},
            "feed_forward": {"kind": "swiglu", "d_ff": 128},
        },
        "training": {"sequence_length": 256, "batch_tokens": 2048, "tokens": 20_480},
        "checks": {"max_drop_share": 1.0, "max_duplicate_share": 1.0},
        "compute": {"workers": workers},
    }
