"""Mamba: a selective state space in every layer, and no feed-forward."""

from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Bias, Config, Derived, Fixed, Key
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import TIED
from llm_core.model.hf.weights import Depthwise, Weight, product, weight


def _block(spec: ModelSpec, _: LayerSpec) -> list[Weight]:
    return [
        weight("mixer_norm", "norm"),
        *product("mixer.input", "mixer.in_proj", bias=spec.bias),
        weight("mixer.convolution", "mixer.conv1d", form=Depthwise()),
        Weight("mixer.convolution.bias", ("mixer.conv1d.bias",)),
        weight("mixer.selected", "mixer.x_proj"),
        weight("mixer.dt", "mixer.dt_proj"),
        Weight("mixer.dt_bias", ("mixer.dt_proj.bias",)),
        *(Weight(f"mixer.{name}", (f"mixer.{name}",)) for name in ("A_log", "D")),
        *product("mixer.output", "mixer.out_proj", bias=spec.bias),
    ]


def _rank(rank: Any, _: Config) -> int | None:
    return None if rank in (None, "auto") else int(rank)


MAMBA = Family(
    name="mamba",
    architecture="MambaForCausalLM",
    parts=(
        Key("hidden_size", "d_model", absent=768),
        Key("layer_norm_epsilon", "norm.eps", absent=1e-5),
        Key("initializer_range", "init_std", absent=0.1),
        TIED,
        Key("state_size", "mixer.state", absent=16),
        Key("expand", "mixer.expand", absent=2),
        Key("conv_kernel", "mixer.kernel", absent=4),
        Derived("time_step_rank", "mixer.dt_rank", _rank),
        Bias(("use_bias",)),
        Fixed("use_conv_bias", True),
        Fixed("hidden_act", "silu"),
    ),
    always={"mixer.kind": "mamba", "feed_forward": None, "norm.kind": "rmsnorm", "norm_placement": "pre"},
    outer=(weight("embedding", "backbone.embeddings"), weight("norm", "backbone.norm_f")),
    block=_block,
    length=None,
    prefix="backbone.",
    blocks="backbone.layers",
)
