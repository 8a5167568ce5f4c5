"""RWKV-4: time mixing by decaying means, channel mixing, and LayerNorm, also after the embedding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fields, Fixed, Key, Part, UnsupportedError, Written
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import UNTIED
from llm_core.model.hf.weights import Weight, product, weight


class _Shares:
    """The shares of the token shift, one row per map. Theirs are one tensor (1, 1, D) per map."""

    def join(self, theirs: Sequence[Tensor]) -> Tensor:
        """See ``Form``."""
        return torch.cat([shares.reshape(1, -1) for shares in theirs])

    def split(self, ours: Tensor) -> list[Tensor]:
        """See ``Form``."""
        return [shares[None, None] for shares in ours]


class _Width(Part):
    """The width of the time mixing, which must be that of the model. Writing omits it."""

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        found, wanted = config.get("attention_hidden_size"), fields.model["d_model"]
        if found not in (None, wanted):
            raise UnsupportedError(f"attention_hidden_size is {found}; only hidden_size, {wanted}, can be imported")


def _mixes(ours: str, theirs: str, maps: Sequence[str]) -> Weight:
    return Weight(f"{ours}.shift.shares", tuple(f"{theirs}.time_mix_{name}" for name in maps), _Shares())


def _block(_: ModelSpec, __: LayerSpec) -> list[Weight]:
    return [
        *product("mixer_norm", "ln1", bias=True),
        *product("feed_forward_norm", "ln2", bias=True),
        _mixes("mixer", "attention", ("key", "value", "receptance")),
        Weight("mixer.decay", ("attention.time_decay",)),
        Weight("mixer.first", ("attention.time_first",)),
        *(weight(f"mixer.{name}", f"attention.{name}") for name in ("key", "value", "receptance", "output")),
        _mixes("feed_forward", "feed_forward", ("key", "receptance")),
        weight("feed_forward.up", "feed_forward.key"),
        weight("feed_forward.gate", "feed_forward.receptance"),
        weight("feed_forward.down", "feed_forward.value"),
    ]


RWKV = Family(
    name="rwkv",
    architecture="RwkvForCausalLM",
    parts=(
        Key("hidden_size", "d_model"),
        _Width(),
        Derived(
            "intermediate_size",
            "feed_forward.d_ff",
            lambda width, config: 4 * config["hidden_size"] if width is None else width,
        ),
        Fixed("layer_norm_epsilon", 1e-5),  # their last norm uses it, whatever the key
        UNTIED,
        # Halving the stream every few layers, for fp16, changes logits only through the eps of norms.
        Written("rescale_every", 0),
    ),
    always={
        "mixer.kind": "rwkv4",
        "feed_forward.kind": "rwkv4_channel_mix",
        "norm.kind": "layernorm",
        "norm_placement": "pre",
        "bias": True,
        "embedding_norm": True,
    },
    outer=(
        weight("embedding", "rwkv.embeddings"),
        *product("embedding_norm", "rwkv.blocks.0.pre_ln", bias=True),
        *product("norm", "rwkv.ln_out", bias=True),
    ),
    block=_block,
    length="context_length",
    prefix="rwkv.",
    blocks="rwkv.blocks",
    head="head.weight",
)
