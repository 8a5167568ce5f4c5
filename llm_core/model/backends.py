"""Which kernel does a model's attention: what each can do, and which one is taken where nobody asks for one.

All of them compute the same, up to rounding (``tests/model/test_attending.py``), so the choice is no part of a result;
with dropout of attention, each leaves out other weights.
"""

from collections.abc import Sequence

from llm_core.errors import PedigreeError
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.attending import AttendingSpec

_SMALLEST_FLEX_WIDTH = 16
_LARGEST_FLASH_WIDTH = 256


def choose_backend(
    spec: ModelSpec,
    device: str,
    wanted: str = "auto",
    *,
    decoding: bool = False,
    layers: Sequence[LayerSpec] | None = None,
    half: bool = True,
) -> str:
    """The backend of attention over whole sequences on a ``device`` of this type; ``wanted`` if it can do the job.

    ``layers``: those of ``spec``, where they are known already. ``decoding``: with a state, whatever is wanted, one
    that needs no compilation for every length of a prompt and no half precision. ``half``: queries are bf16 or fp16.

    - ``eager``: matrix products and a softmax, a block of queries at a time, without the keys that no query of the
      block sees. Does everything, everywhere. It keeps all probabilities for the backward pass.
    - ``sdpa``: torch's fused kernels (``scaled_dot_product_attention``), which keep no probabilities. Plain causal
      attention skips the keys after a query; with a mask (documents, windows, ALiBi) hidden keys cost as much as the
      others. No softcap. With dropout, a CPU has no fused kernel, and torch writes out all scores.
    - ``flex``: FlexAttention (Dong et al., 2024), compiled for this very mask, skips what is hidden, and knows softcaps
      and ALiBi. Not for CPUs: it has no backward pass there, and compiled in one graph with what makes queries and keys
      its results are wrong (torch 2.13). No dropout.
    - ``varlen``: FlashAttention (Dao, 2023) over documents laid end to end. CUDA in bf16 or fp16 only, no softcap, no
      ALiBi, no dropout, heads of at most 256 channels.

    ``auto`` on CUDA is ``sdpa`` for plain causal attention and ``flex`` for all else, since that needs no bound on the
    number of documents. Where ``flex`` can't do it, and on other devices, ``auto`` is ``sdpa``; ``eager`` for a
    softcap, and on a CPU for dropout. Raises ``PedigreeError`` for a backend that can't do what ``spec``
    asks.
    """
    attending = [layer.mixer for layer in layers or spec.layers if isinstance(layer.mixer, AttendingSpec)]
    softcap = any(mixer.softcap is not None for mixer in attending)
    dropout = any(mixer.dropout > 0 for mixer in attending)
    biased = any(mixer.position.biases for mixer in attending)
    narrow = spec.document_mask or any(mixer.window is not None for mixer in attending)
    widths = [width for mixer in attending for width in mixer.head_widths()] or [_SMALLEST_FLEX_WIDTH]
    width = min(widths)
    if decoding:
        return "eager" if softcap else "sdpa"
    if wanted == "auto":
        if device != "cuda" or width < _SMALLEST_FLEX_WIDTH or dropout:
            return "eager" if softcap or (dropout and device == "cpu") else "sdpa"
        return "flex" if softcap or biased or narrow else "sdpa"
    reasons = {
        "eager": [],
        "sdpa": [("softcap of attention", softcap)],
        "flex": [
            ("device of type cpu", device == "cpu"),
            (f"heads of less than {_SMALLEST_FLEX_WIDTH} channels", width < _SMALLEST_FLEX_WIDTH),
            ("dropout of attention", dropout),
        ],
        "varlen": [
            (f"device of type {device}", device != "cuda"),
            ("softcap of attention", softcap),
            ("position that adds to scores", biased),
            ("dropout of attention", dropout),
            (f"heads of more than {_LARGEST_FLASH_WIDTH} channels", max(widths) > _LARGEST_FLASH_WIDTH),
            ("precision fp32", not half),
        ],
    }[wanted]
    against = [reason for reason, holds in reasons if holds]
    if against:
        raise PedigreeError(
            f"compute.attention_backend: {wanted} has no {' and no '.join(against)}; write auto, which takes "
            f"{choose_backend(spec, device, layers=layers, half=half)} here"
        )
    return wanted
