"""The kernels for attention: what each supports, and the choice of one.

Their results are equal up to rounding (``tests/model/test_attending.py``), so the choice is not part of an identity.
With dropout of attention, each drops other weights.
"""

from collections.abc import Sequence

from llm_core.errors import PedigreeError
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.attending import AttendingSpec

_SDPA_DEVICES = ("cpu", "cuda")
"""On an Apple GPU, torch's kernels gave silently wrong results in several releases, up to causal attention in bf16 that
sees later tokens (pytorch #174861, #176767, #184180, #195910)."""
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
    """The backend of attention over whole sequences on a ``device`` of this type: ``wanted``, if it supports ``spec``.

    ``layers``: those of ``spec``, if they are known already. ``decoding``: there is a decoding state; then ``wanted``
    is ignored, and the backend compiles nothing for each prompt length and needs no half precision. ``half``: queries
    are bf16 or fp16.

    - ``eager``: matrix products and a softmax per block of queries, without the keys that no query of the block sees.
      It supports everything on every device. It saves all probabilities for the backward pass.
    - ``sdpa``: torch's fused kernels (``scaled_dot_product_attention``), which save no probabilities. Plain causal
      attention skips the keys after a query; with a mask (documents, windows, ALiBi), hidden keys cost as much as
      visible ones. No softcap. CPUs have no fused kernel with dropout: torch then writes out all scores. Not for Apple
      GPUs.
    - ``flex``: FlexAttention (Dong et al., 2024), compiled for the mask, skips hidden blocks, and supports softcaps and
      ALiBi. CUDA only: on CPUs it has no backward pass, and its results are wrong when it is compiled in one graph
      with the projections of queries and keys (torch 2.13). No dropout.
    - ``varlen``: FlashAttention (Dao, 2023) over concatenated documents. CUDA in bf16 or fp16 only, no softcap, no
      ALiBi, no dropout, heads of at most 256 channels.

    ``auto`` on CUDA is ``sdpa`` for plain causal attention and ``flex`` for all else, since that needs no bound on the
    number of documents. If ``flex`` does not support the model, and on a CPU, ``auto`` is ``sdpa``; it is ``eager``
    for a softcap, on a CPU for dropout, and on an Apple GPU. Raises ``PedigreeError`` for a backend that does not
    support ``spec``.
    """
    attending = [layer.mixer for layer in layers or spec.layers if isinstance(layer.mixer, AttendingSpec)]
    softcap = any(mixer.softcap is not None for mixer in attending)
    dropout = any(mixer.dropout > 0 for mixer in attending)
    biased = any(mixer.position.biases for mixer in attending)
    narrow = spec.document_mask or any(mixer.window is not None for mixer in attending)
    widths = [width for mixer in attending for width in mixer.head_widths()] or [_SMALLEST_FLEX_WIDTH]
    width = min(widths)
    plain = softcap or device not in _SDPA_DEVICES
    if decoding:
        return "eager" if plain else "sdpa"
    if wanted == "auto":
        if device != "cuda" or width < _SMALLEST_FLEX_WIDTH or dropout:
            return "eager" if plain or (dropout and device == "cpu") else "sdpa"
        return "flex" if softcap or biased or narrow else "sdpa"
    reasons = {
        "eager": [],
        "sdpa": [
            (f"device of type {device}", device not in _SDPA_DEVICES),
            ("softcap of attention", softcap),
        ],
        "flex": [
            (f"device of type {device}", device != "cuda"),
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
