"""Samples: how the model continues held-out documents, for people who watch a run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.json_lines import JsonLinesCallback
from llm_core.train.callbacks.run import Run
from llm_core.train.callbacks.spec import SAMPLES
from llm_core.train.callbacks.spec import Samples as SamplesSpec
from llm_core.train.precision import autocast


@runtime_only("samples for people, which no stage reads")
class Samples(JsonLinesCallback):
    """Appends to ``samples.jsonl``: the first tokens of some held-out documents, and the model's greedy continuations.

    A sample has token ids and, with ``TrainerSpec.tokenizer``, text.
    """

    file = SAMPLES

    def __init__(self, spec: SamplesSpec) -> None:
        self._samples = spec
        self._decode: Callable[[list[int]], str] | None = None

    def on_start(self, run: Run) -> None:
        """Open the file. ``PedigreeError`` when the held-out split is shorter than a prompt."""
        if self._samples.prompt_tokens > run.data.heldout.tokens:
            raise PedigreeError(
                f"tracking.callbacks.samples.prompt_tokens {self._samples.prompt_tokens}: the held-out split of "
                f"{run.spec.shards} has {run.data.heldout.tokens} tokens; set it to at most that"
            )
        if run.spec.tokenizer is not None and self._decode is None:
            self._decode = _decoder(str(run.spec.tokenizer))
        super().on_start(run)

    def end_step(self, run: Run, stopping: bool) -> None:
        """Write samples if this step has some."""
        step = run.progress.step
        if step % self._samples.every and step != run.spec.training.steps:
            return
        prompts_BP = self._prompts_BP(run)
        rows = continuations(run, prompts_BP, self._samples.new_tokens).tolist()
        if self.writer:
            split = prompts_BP.shape[1]
            found = [{"prompt": row[:split], "continuation": row[split:]} for row in rows]
            texts = [] if self._decode is None else [{"text": self._decode(row)} for row in rows]
            merged = [{**ids, **text} for ids, text in zip(found, texts or [{}] * len(found), strict=True)]
            self.writer.append({"step": step, "samples": merged})

    def _prompts_BP(self, run: Run) -> Tensor:  # noqa: N802
        """(B, P): the end-of-text token and the first tokens of documents, spread evenly over the split."""
        heldout, length = run.data.heldout, self._samples.prompt_tokens
        starts = heldout.offsets[:-1][heldout.offsets[:-1] <= heldout.stop - length]
        chosen = np.unique(np.linspace(0, len(starts) - 1, min(self._samples.documents, len(starts))).astype(np.int64))
        tokens = heldout.spans(starts[chosen] - 1, np.full(len(chosen), length, dtype=np.int64))
        return torch.from_numpy(tokens.reshape(len(chosen), length))


@torch.no_grad()
def continuations(run: Run, prompts_BP: Tensor, new_tokens: int) -> Tensor:
    """(B, P + ``new_tokens``): prompts and their greedy continuations, on the CPU. Collective under FSDP2.

    It uses no decoding state: all forward passes have the same shape, so a compiled model compiles once, and FSDP2
    gathers parameters as in training.
    """
    device = run.world.device
    B, P = prompts_BP.shape
    tokens_BT = torch.zeros(B, P + new_tokens, dtype=torch.int64)
    tokens_BT[:, :P] = prompts_BP
    tokens_BT = tokens_BT.to(device)
    ids_BT = torch.zeros_like(tokens_BT, dtype=torch.int32)
    run.model.eval()
    for place in range(P, P + new_tokens):
        with autocast(run.spec.training.precision, device):
            logits_B1V = run.model(tokens_BT, document_ids_BT=ids_BT, only=place - 1)
        tokens_BT[:, place] = logits_B1V[:, 0].argmax(dim=-1)
    run.model.train()
    return tokens_BT.cpu()


def _decoder(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path).decode
