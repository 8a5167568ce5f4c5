"""What each part of a layer costs, by formula, for ``llm_core.model.accounting``. Needs no torch.

Every mixer and feed-forward of the registries has an entry here; a test holds them to the modules.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec


@dataclass(frozen=True)
class Cost:
    """``matrices``: parameters that multiply every token. ``idle``: parameters of matrices that a token does not pass
    (experts that are not chosen). ``vectors``: all other parameters. ``mixing``: FLOPs of the forward pass for a token
    beside the products with matrices. ``cached``: numbers that a token adds to the decoding state; ``state``: numbers
    that it holds whatever its length, and ``wide_state`` those that are fp32 in any model. ``kept``: numbers, in the
    type that products are done in, that the forward pass keeps for the backward pass, a token; ``wide_kept``: the same,
    fp32 in any precision; ``widened``: the same in fp32, which autocast keeps twice. ``products``: numbers that
    products with matrices and attention's kernel yield.
    """

    matrices: int = 0
    idle: int = 0
    vectors: int = 0
    mixing: int = 0
    cached: int = 0
    state: int = 0
    wide_state: int = 0
    kept: int = 0
    wide_kept: int = 0
    widened: int = 0
    products: int = 0

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.matrices + self.idle + self.vectors


def norm_parameters(spec: ModelSpec, kind: str, width: int) -> int:
    """Parameters of one norm."""
    return width * (2 if kind == "layernorm" and spec.bias else 1)


def attention(spec: ModelSpec, layer: LayerSpec, length: int) -> Cost:
    """Scores and their sums count the whole window, as if it were full (see ``flops_per_token``)."""
    n_heads, n_kv_heads, head_dim = layer.heads
    own = layer.kv_from is None
    queries, kv = n_heads * head_dim, n_kv_heads * head_dim if own else 0
    norms = (1 + own) * norm_parameters(spec, layer.norm, head_dim) if spec.qk_norm else 0
    seen = length if layer.window is None else min(length, layer.window)
    return Cost(
        matrices=spec.d_model * (2 * queries + 2 * kv),
        vectors=norms + (spec.bias and queries + 2 * kv + spec.d_model),
        mixing=4 * queries * seen,
        cached=2 * kv if layer.window is None else 0,
        state=0 if layer.window is None else 2 * kv * (layer.window - 1),
        # Its input, projections, queries and keys that are turned, its result in both orders.
        kept=spec.d_model + 4 * queries + 3 * kv,
        products=2 * queries + 2 * kv + spec.d_model,
    )


def mla(spec: ModelSpec, layer: LayerSpec, length: int) -> Cost:
    """As in training, where keys and values of all heads are written out."""
    section = spec.mla
    assert section is not None
    d, n_heads, q_rank = spec.d_model, layer.heads[0], section.q_rank or 0
    queries, values = n_heads * (section.nope_dim + section.rope_dim), n_heads * section.value_dim
    expanded, narrow = n_heads * section.nope_dim + values, section.kv_rank + section.rope_dim
    norms = [norm_parameters(spec, layer.norm, rank) for rank in (q_rank, section.kv_rank)]
    seen = length if layer.window is None else min(length, layer.window)
    # Attention gets queries, keys and values of one width.
    wide = n_heads * max(section.nope_dim + section.rope_dim, section.value_dim)
    return Cost(
        matrices=d * q_rank + (q_rank or d) * queries + d * narrow + section.kv_rank * expanded + values * d,
        vectors=sum(norms) + (spec.bias and q_rank + narrow + d),
        mixing=2 * (queries + values) * seen,
        cached=narrow if layer.window is None else 0,
        state=0 if layer.window is None else narrow * (layer.window - 1),
        # Its input, latents before and after their norms, the shared key, what attention gets and gives, its result in
        # the other order.
        kept=d + 2 * q_rank + section.kv_rank + narrow + 4 * wide + values,
        products=q_rank + queries + narrow + expanded + wide + d,
    )


def liv(spec: ModelSpec, _layer: LayerSpec, _length: int) -> Cost:
    """The convolution's few FLOPs are left out, as those of norms are."""
    assert spec.liv is not None
    d, kernel = spec.d_model, spec.liv.kernel
    return Cost(
        matrices=4 * d * d,
        vectors=d * kernel + (spec.bias and 5 * d),
        state=d * (kernel - 1),
        # Its input, the three gates, what goes into the convolution and comes out, and the product.
        kept=7 * d,
        products=4 * d,
    )


def mamba2(spec: ModelSpec, _layer: LayerSpec, length: int) -> Cost:
    """A token is compared with its chunk, and writes to and reads from the state."""
    section = spec.mamba2
    assert section is not None
    d, inner, both = spec.d_model, section.expand * spec.d_model, section.groups * section.state
    heads, convolved, chunk = inner // section.head_dim, inner + 2 * both, min(section.chunk, length)
    projected = inner + convolved + heads
    return Cost(
        matrices=d * projected + inner * d,
        vectors=convolved * (section.kernel + 1) + 3 * heads + inner + (spec.bias and projected + d),
        mixing=2 * chunk * (both + inner) + 4 * inner * section.state,
        state=convolved * (section.kernel - 1),
        wide_state=inner * section.state,
        # Its input, all projections, the convolution's result and that of silu, inner channels on their way through the
        # scan and the norm, the states of chunks, and how much tokens see of each other.
        kept=d + projected + 2 * convolved + 8 * inner + inner * section.state // chunk + heads * chunk,
        # What the norm gets, states and decays.
        wide_kept=inner + inner * section.state // chunk + heads * chunk,
        products=projected + d,
    )


def _gated(spec: ModelSpec, layer: LayerSpec) -> Cost:
    d, f = spec.d_model, layer.width
    # Its input, gate, up, f(gate) and the product.
    return Cost(matrices=3 * d * f, vectors=spec.bias and 2 * f + d, kept=d + 4 * f, products=2 * f + d)


def _plain(spec: ModelSpec, layer: LayerSpec) -> Cost:
    d, f = spec.d_model, layer.width
    return Cost(matrices=2 * d * f, vectors=spec.bias and f + d, kept=d + 2 * f, products=f + d)


def _moe(spec: ModelSpec, _layer: LayerSpec) -> Cost:
    """``top_k`` experts and the shared ones work on a token; the matrices of the others are idle."""
    moe = spec.moe
    assert moe is not None
    d, f, shared = spec.d_model, moe.d_ff, moe.shared * moe.d_ff
    return Cost(
        matrices=d * moe.experts + 3 * d * (moe.top_k * f + shared),
        idle=3 * d * f * (moe.experts - moe.top_k),
        vectors=(spec.bias and shared) and 2 * shared + d,
        # Its input, and for each of its experts the same again, gate, up, silu(gate), the product, the result.
        kept=d + moe.top_k * (2 * d + 4 * f) + (shared and d + 4 * shared),
        # What the router reads and scores, and results in the order of tokens.
        widened=d + 2 * moe.experts + moe.top_k * d,
        products=moe.experts + moe.top_k * (2 * f + d) + (shared and 2 * shared + d),
    )


MIXER_COSTS: dict[str, Callable[[ModelSpec, LayerSpec, int], Cost]] = {
    "attention": attention,
    "mla": mla,
    "liv": liv,
    "mamba2": mamba2,
}

FEED_FORWARD_COSTS: dict[str, Callable[[ModelSpec, LayerSpec], Cost]] = {
    "swiglu": _gated,
    "geglu": _gated,
    "gelu": _plain,
    "gelu_tanh": _plain,
    "relu": _plain,
    "relu2": _plain,
    "moe": _moe,
}
