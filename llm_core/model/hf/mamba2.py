"""Mamba-2: a state-space mixer in every layer, and no feed-forward."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Bias, Config, Fields, Fixed, Key, Part, UnsupportedError
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import UNTIED
from llm_core.model.hf.weights import Depthwise, Weight, product, weight
from llm_core.model.mixers.mamba2.spec import Mamba2


def _block(spec: ModelSpec, _: LayerSpec) -> list[Weight]:
    return [
        weight("mixer_norm", "norm"),
        *product("mixer.input", "mixer.in_proj", bias=spec.bias),
        weight("mixer.convolution", "mixer.conv1d", form=Depthwise()),
        Weight("mixer.convolution.bias", ("mixer.conv1d.bias",)),
        *(Weight(f"mixer.{name}", (f"mixer.{name}",)) for name in ("dt_bias", "A_log", "D")),
        weight("mixer.norm", "mixer.norm"),
        *product("mixer.output", "mixer.out_proj", bias=spec.bias),
    ]


class _StepLimit(Part):
    """The bounds of the scan's steps, which must be 0 and infinity. JSON has no infinity, so writing omits them."""

    def read(self, config: Config, fields: Fields) -> None:  # noqa: ARG002
        """See ``Part``."""
        limits = config.get("time_step_limit")
        if limits is not None and [float(limit) for limit in limits] != [0.0, float("inf")]:
            raise UnsupportedError(f"time_step_limit is {limits}; only no limit can be imported")


class _Heads(Part):
    """The number of heads, which follows from the widths."""

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        section = fields.model["mixer"]
        wanted, found = section["expand"] * fields.model["d_model"], config.get("num_heads", 128) * section["head_dim"]
        if wanted != found:
            raise UnsupportedError(f"num_heads · head_dim is {found}, and expand · hidden_size is {wanted}")

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        mixer = spec.layers[0].mixer
        if isinstance(mixer, Mamba2):
            config["num_heads"] = mixer.head_count(spec.d_model)


MAMBA2 = Family(
    name="mamba2",
    architecture="Mamba2ForCausalLM",
    parts=(
        Key("hidden_size", "d_model"),
        Key("layer_norm_epsilon", "norm.eps", absent=1e-5),
        Key("initializer_range", "init_std", absent=0.1),
        UNTIED,
        Key("state_size", "mixer.state", absent=128),
        Key("head_dim", "mixer.head_dim", absent=64),
        Key("expand", "mixer.expand", absent=2),
        _Heads(),
        Key("n_groups", "mixer.groups", absent=8),
        Key("conv_kernel", "mixer.kernel", absent=4),
        Key("chunk_size", "mixer.chunk", absent=256),
        Bias(("use_bias",)),
        Fixed("use_conv_bias", True),
        Fixed("hidden_act", "silu"),
        _StepLimit(),
    ),
    always={"mixer.kind": "mamba2", "feed_forward": None, "norm.kind": "rmsnorm", "norm_placement": "pre"},
    outer=(weight("embedding", "backbone.embeddings"), weight("norm", "backbone.norm_f")),
    block=_block,
    length=None,
    prefix="backbone.",
    blocks="backbone.layers",
)
