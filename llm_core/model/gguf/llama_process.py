"""The process that asks llama.cpp: ``python -m llm_core.model.gguf.llama_process question.json answer.npz``.

A failed assertion of llama.cpp ends it, and not the process that compares. It imports no torch.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def answers(model: str, rows: Sequence[list[int]], texts: Sequence[str]) -> tuple[np.ndarray, list[list[int]]]:
    """Logits (rows, tokens, vocabulary) of ``rows`` of token ids, and the ids of ``texts``, for the file ``model``."""
    from llama_cpp import Llama

    length = max(len(row) for row in rows)
    threads = {"n_threads": 1, "n_threads_batch": 1}
    exact = {"type_k": 0, "type_v": 0, "flash_attn": False}  # keys and values in fp32
    sizes = {"n_ctx": length, "n_batch": length}
    of_file = {"rope_scaling_type": -1, "yarn_attn_factor": -1.0, "yarn_beta_fast": -1.0, "yarn_beta_slow": -1.0}
    client = Llama(model, logits_all=True, verbose=False, **sizes, **threads, **exact, **of_file)
    logits = []
    for row in rows:
        client.reset()
        client.eval(row)
        logits.append(np.array(client.scores[: len(row)], dtype=np.float32))
    return np.stack(logits), [client.tokenize(text.encode(), add_bos=True, special=False) for text in texts]


def main(asked: Path, answered: Path) -> None:
    """Answer the question in the file ``asked``."""
    logits, ids = answers(**json.loads(asked.read_text(encoding="utf-8")))
    np.savez(answered, logits=logits, ids=np.array(json.dumps(ids)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
