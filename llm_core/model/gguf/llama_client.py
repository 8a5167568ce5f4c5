"""llama.cpp, asked for logits and token ids in a process of its own: its failed assertions end the process."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from llm_core.model.clients.parity import TEXTS, compared, our_logits, random_rows
from llm_core.model.clients.results import Parity
from llm_core.model.decoder import Decoder
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer

PACKAGE = "llama-cpp-python"
TIMEOUT = 600
"""Seconds."""


def check(path: Path, model: Decoder, tokenizer: Path) -> Parity:
    """Compare llama.cpp's logits of random tokens with those of ``model``, and its ids of texts with those of
    ``tokenizer``. ``path``: the GGUF file."""
    try:
        client = f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return Parity(client=PACKAGE, not_checked=f"{PACKAGE} is not installed")
    opened = load_tokenizer(tokenizer)
    end = end_of_text(opened, tokenizer)
    texts = [_in_its_form(opened, text) for text in TEXTS]
    rows = random_rows(model.vocab_size, model.spec.longest(), end)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "question.json", Path(folder) / "answer.npz"
        asked.write_text(json.dumps({"model": str(path), "rows": rows, "texts": texts}), encoding="utf-8")
        command = [sys.executable, "-m", "llm_core.model.gguf.llama_process", str(asked), str(answered)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, errors="replace")
        except subprocess.TimeoutExpired:
            return Parity(client=client, problem=f"it gave no answer within {TIMEOUT} seconds")
        if run.returncode or not answered.is_file():
            last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
            return Parity(client=client, problem=f"it can't load or run the file: {last}")
        with np.load(answered) as answer:
            theirs, ids = answer["logits"], json.loads(str(answer["ids"]))
    ours = [[end, *opened.encode(text).ids] for text in texts]
    different = [text for text, wanted, found in zip(texts, ours, ids, strict=True) if wanted != found]
    return compared(client, our_logits(model, rows), theirs, different)


def _in_its_form(tokenizer: Tokenizer, text: str) -> str:
    """llama.cpp has no normalisers, so it is asked for texts that no normaliser changes."""
    return text if tokenizer.normalizer is None else str(tokenizer.normalizer.normalize_str(text))
