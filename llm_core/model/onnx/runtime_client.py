"""onnxruntime, asked for logits."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from llm_core.model.clients.parity import compared, our_logits, random_rows
from llm_core.model.clients.results import Parity
from llm_core.model.decoder import Decoder
from llm_core.model.onnx.writing import INPUT

PACKAGE = "onnxruntime"


def check(path: Path, model: Decoder) -> Parity:
    """Compare onnxruntime's logits with those of ``model``: of several rows, and of one row of another length."""
    try:
        client = f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return Parity(client=PACKAGE, not_checked=f"{PACKAGE} is not installed")
    import onnxruntime

    rows = random_rows(model.vocab_size, model.spec.longest(), first=0)
    shorter = [rows[0][: max(2, len(rows[0]) // 3)]]
    ours, theirs = [], []
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for batch in (rows, shorter):
            (logits,) = session.run(None, {INPUT: np.array(batch, dtype=np.int64)})
            theirs.append(logits.reshape(-1, model.vocab_size))
            ours.append(our_logits(model, batch).reshape(-1, model.vocab_size))
    except Exception as error:  # its errors share no class
        return Parity(client=client, problem=f"it can't load or run the file: {str(error).splitlines()[0]}")
    return compared(client, np.concatenate(ours), np.concatenate(theirs))
