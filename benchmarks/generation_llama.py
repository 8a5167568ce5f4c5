"""llama.cpp as a writer of tokens for ``benchmarks.generation``: greedy, fp32, one thread, many rows at once."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from llm_core.extras import is_installed
from llm_core.model.decoder import Decoder
from llm_core.model.gguf.writing import export_gguf
from tests.model.gguf import cases

F32 = 0
"""ggml's number of the type, for keys and values."""


class LlamaCpp:
    """``model`` in llama.cpp, with room for ``rows`` rows of ``length`` tokens."""

    def __init__(self, model: Decoder, rows: int, length: int) -> None:
        import llama_cpp

        self._library, self._vocab_size = llama_cpp, model.vocab_size
        llama_cpp.llama_log_set(_SILENT, None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            export_gguf(model, path, sequence_length=length, dtype="f32", tokenizer=cases.tokenizer(Path(folder)))
            self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), _with(
                llama_cpp.llama_model_default_params(), use_mmap=False
            ))  # fmt: skip
        self._context = llama_cpp.llama_init_from_model(self._model, _with(
            llama_cpp.llama_context_default_params(),
            n_ctx=rows * length, n_batch=rows * length, n_ubatch=rows * length, n_seq_max=rows,
            n_threads=1, n_threads_batch=1, type_k=F32, type_v=F32, flash_attn_type=0, no_perf=True,
        ))  # fmt: skip

    def write(self, prompts_BT: Tensor, new: int) -> list[list[int]]:
        """The likeliest ``new`` tokens of every row."""
        library = self._library
        library.llama_memory_clear(library.llama_get_memory(self._context), True)
        rows: list[list[int]] = [[] for _ in prompts_BT]
        inputs, start = prompts_BT.tolist(), 0
        for _ in range(new):
            chosen = self._step(inputs, start)
            start += len(inputs[0])
            inputs = [[token] for token in chosen]
            for row, token in zip(rows, chosen, strict=True):
                row.append(token)
        return rows

    def _step(self, inputs: list[list[int]], start: int) -> list[int]:
        library, count = self._library, len(inputs) * len(inputs[0])
        batch = library.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        places = [(row, column) for row in range(len(inputs)) for column in range(len(inputs[0]))]
        for index, (row, column) in enumerate(places):
            batch.token[index], batch.pos[index] = inputs[row][column], start + column
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = column == len(inputs[0]) - 1
        failed = library.llama_decode(self._context, batch)
        assert not failed, failed
        ends = [index for index, (_, column) in enumerate(places) if column == len(inputs[0]) - 1]
        chosen = []
        for index in ends:
            logits = library.llama_get_logits_ith(self._context, index)
            chosen.append(int(np.ctypeslib.as_array(logits, (self._vocab_size,)).argmax()))
        library.llama_batch_free(batch)
        return chosen


def _with(parameters: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(parameters, name, value)
    return parameters


def _silent() -> Any:
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda *_: None)


_SILENT = _silent() if is_installed("llama_cpp") else None
"""Kept, because llama.cpp calls it later."""
