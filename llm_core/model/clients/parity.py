"""Whether another program computes the logits and token ids that ours does."""

from collections.abc import Sequence

import numpy as np
import torch

from llm_core.model.clients.results import Parity
from llm_core.model.decoder import Decoder

ROWS, LENGTH = 4, 48
"""Rows of random tokens whose logits are compared, and their length at most."""

TEXTS = (
    "Rain fell on the harbour, and nobody's umbrella was large enough; we'll wait.",
    "  two spaces first, then\ttabs\t\tand   three spaces   \n\n\nthree line ends\r\nand one of Windows\n ",
    "1 22 333 4444 55555, 3.14159 and -2.5e10, 0x1F, 2026-11-30, 10:45",
    "IT'S THEY'RE I'VE we'D you'LL 'tis o'clock ''quoted'' \"double\" don’t",
    "def f(x):\n    return {k: v[1:] for k, v in x.items()}  # why?\n\n\nclass A: pass\n",
    "Grüße, naïve façade, Ελληνικά, русский, 日本語の文, 한국어, العربية, हिन्दी, ไทย",
    "👍🏽👩‍👩‍👧 e\u0301 ﬁ ½ ① ™ \u00a0 \u200b \u2028 …—–",
    "<|endoftext|> <|im_start|>user\n<s> [INST] </s>",
    "!!!???...,,,;;;::: --- === *** ((([[[{{{ $$$ %%% &&& ### @@@ ///\\\\\\",
    "",
)
"""Texts whose ids are compared: numbers, white space, contractions, scripts, code, and control tokens as text."""


def random_rows(vocab_size: int, length: int | None, first: int) -> list[list[int]]:
    """Random ids, the same ones in each call, after ``first``. ``length``: tokens of the longest text, if bounded."""
    generator = torch.Generator().manual_seed(7)
    size = (ROWS, LENGTH if length is None else min(LENGTH, length))
    rows: list[list[int]] = torch.randint(0, vocab_size, size, generator=generator).tolist()
    return [[first, *row[1:]] for row in rows]


@torch.no_grad()
def our_logits(model: Decoder, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """(rows, tokens, vocabulary) in fp32. Each row is one document."""
    logits: torch.Tensor = model.eval()(torch.tensor(rows, device=model.embedding.weight.device))
    return logits.float().cpu().numpy()


def compared(client: str, ours: np.ndarray, theirs: np.ndarray, different_ids: list[str] | None = None) -> Parity:
    """The comparison of two arrays of logits of equal shape."""
    if not np.isfinite(theirs).all():
        return Parity(client=client, problem="it computes logits that are not finite")
    return Parity(
        client=client,
        largest_difference=float(np.abs(ours - theirs).max()),
        spread=float(ours.std()),
        same_likeliest=float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
        different_ids=different_ids,
    )
