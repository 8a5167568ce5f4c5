"""The costs of a model by formula: parameters, FLOPs, cache and activations. Needs no torch."""

from dataclasses import dataclass

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.mixers.attention.spec import Attention

FLOPS_CONVENTION = (
    "6·N + 3·mixing per token: forward and backward, N the matrices that multiply it (head, chosen experts); attention "
    "mixes 4·H·C·min(T, window), its full square"
)


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters by part. A tied head is counted once, as ``embedding``; so are learned positions.

    ``mtp_heads``: modules for multi-token prediction, which generation does not use. ``inactive``: parameters of
    ``feed_forward`` that one token does not use (experts that are not chosen). ``value_embeddings``: tables for the
    values of attention, of which a token uses one row per layer. ``ngram_embedding``: tables of n-grams, with one row
    per length.
    """

    embedding: int
    head: int
    mixers: int
    feed_forward: int
    norms: int
    mtp_heads: int = 0
    inactive: int = 0
    value_embeddings: int = 0
    ngram_embedding: int = 0
    stream_scales: int = 0

    @property
    def total(self) -> int:
        """All parameters, including the embeddings."""
        return self.embedding + self.tables + self.head + self.without_embeddings

    @property
    def tables(self) -> int:
        """Tables of tokens and n-grams beside the embedding: memory, and almost no FLOPs."""
        return self.value_embeddings + self.ngram_embedding

    @property
    def without_embeddings(self) -> int:
        """All parameters except embeddings and head (N of Kaplan et al., 2020)."""
        return self.mixers + self.feed_forward + self.norms + self.stream_scales + self.mtp_heads

    @property
    def active(self) -> int:
        """Those that one token uses."""
        return self.total - self.inactive


@dataclass(frozen=True)
class LayerCost:
    """The costs of one layer, by part."""

    mixer: Cost
    feed_forward: Cost
    norms: int
    stream_scales: int = 0

    @property
    def parameters(self) -> int:
        """All parameters of the block, without value embeddings, which depend on the vocabulary."""
        return self.mixer.parameters + self.feed_forward.parameters + self.norms + self.stream_scales


def layer_costs(spec: ModelSpec, sequence_length: int = 1) -> list[LayerCost]:
    """The costs of each layer in a sequence of ``sequence_length`` tokens."""
    return [_layer_cost(spec, layer, sequence_length) for layer in spec.layers]


def _layer_cost(spec: ModelSpec, layer: LayerSpec, sequence_length: int) -> LayerCost:
    feed_forward = layer.feed_forward
    placements = {"pre": 1, "post": 1, "reordered": 1, "sandwich": 2}
    norms = placements[layer.norm_placement] * (1 if feed_forward is None else 2)
    return LayerCost(
        mixer=layer.mixer.cost(spec, layer, sequence_length),
        feed_forward=Cost() if feed_forward is None else feed_forward.cost(spec, layer, sequence_length),
        norms=norms * layer.norm.parameters(spec.d_model, spec.bias),
        stream_scales=0 if layer.stream_scales is None else 2,
    )


def parameter_count(spec: ModelSpec, vocab_size: int) -> ParameterCount:
    """Parameters of ``build_model(spec, vocab_size)``, by part."""
    d = spec.d_model
    layers = layer_costs(spec)
    return ParameterCount(
        embedding=vocab_size * d + (0 if spec.absolute_position is None else spec.absolute_position.parameters(d)),
        head=0 if spec.tie_embeddings else vocab_size * d,
        mixers=sum(layer.mixer.parameters for layer in layers),
        feed_forward=sum(layer.feed_forward.parameters for layer in layers),
        norms=sum(layer.norms for layer in layers) + (1 + spec.embedding_norm) * spec.norm.parameters(d, spec.bias),
        mtp_heads=mtp_parameters(spec),
        inactive=sum(layer.feed_forward.inactive_parameters for layer in layers),
        value_embeddings=vocab_size * sum(layer.mixer.value_width() for layer in spec.layers),
        ngram_embedding=0 if spec.ngram_embedding is None else spec.ngram_embedding.parameters(d),
        stream_scales=sum(layer.stream_scales for layer in layers),
    )


def mtp_layer(spec: ModelSpec) -> LayerSpec:
    """The layer of an MTP head: the model's last layer, with its own keys and values, and without the tables and
    scales of that layer."""
    last = spec.layers[-1]
    return last.model_copy(update={"mixer": last.mixer.on_its_own(), "kv_from": None, "stream_scales": None})


def mtp_parameters(spec: ModelSpec) -> int:
    """Parameters of the MTP heads; 0 without ``multi_token``."""
    if spec.multi_token is None:
        return 0
    d = spec.d_model
    norm = spec.norm.parameters(d, spec.bias)
    block = _layer_cost(spec, mtp_layer(spec), 1).parameters
    return spec.multi_token.depth * (2 * d * d + 3 * norm + block)


def block_parameters(spec: ModelSpec) -> int:
    """Parameters of the largest block. FSDP2 gathers one block at a time."""
    return max(layer.parameters for layer in layer_costs(spec))


def flops_per_token(spec: ModelSpec, vocab_size: int, sequence_length: int) -> int:
    """Training FLOPs per token, forward and backward: 6·N + 3·mixing (after Chowdhery et al., 2022, appendix B).

    N counts the parameters of matrices that multiply a token, including a tied head. Attention counts the whole T × T
    square, or T × window, as most published MFU figures do, although causal kernels compute half of it: 4·H·C·T of
    mixing in a forward pass is the usual 12·H·C·T in a step. Recomputation for activation checkpointing is not counted,
    because MFU means useful FLOPs.
    """
    mixing = sum(layer.mixer.mixing_flops for layer in layer_costs(spec, sequence_length))
    matrices = scaling_parameters(spec, vocab_size)
    if spec.multi_token is not None:
        last = _layer_cost(spec, mtp_layer(spec), sequence_length)
        blocks = last.mixer.matmul_parameters + last.feed_forward.matmul_parameters
        matrices += spec.multi_token.depth * (2 * spec.d_model**2 + blocks + vocab_size * spec.d_model)
        mixing += spec.multi_token.depth * last.mixer.mixing_flops
    return 6 * matrices + 3 * mixing


def scaling_parameters(spec: ModelSpec, vocab_size: int) -> int:
    """N of scaling laws: the parameters that multiply every token in the prediction of the next one (matrices of
    blocks, chosen experts, and the head, also a tied one; no tables, of which a token reads a row)."""
    layers = layer_costs(spec)
    blocks = sum(layer.mixer.matmul_parameters + layer.feed_forward.matmul_parameters for layer in layers)
    return blocks + vocab_size * spec.d_model


def kv_cache_bytes_per_token(spec: ModelSpec, element_bytes: int = 2) -> int:
    """Bytes by which each token of a sequence enlarges the decoding state (bf16 by default); windows do not grow."""
    return sum(layer.mixer.cache_per_token for layer in layer_costs(spec)) * element_bytes


def state_bytes(spec: ModelSpec, length: int, element_bytes: int = 2) -> int:
    """Bytes of the decoding state of one sequence of ``length`` tokens: caches, full windows, recurrent states."""
    costs = [cost for layer in layer_costs(spec) for cost in (layer.mixer, layer.feed_forward)]
    fixed = sum(element_bytes * cost.state + 4 * cost.state_fp32 for cost in costs)
    last_tokens = 0 if spec.ngram_embedding is None else 8 * (spec.ngram_embedding.longest - 1)
    return kv_cache_bytes_per_token(spec, element_bytes) * length + fixed + last_tokens


def activation_bytes_per_token(
    spec: ModelSpec,
    sequence_length: int,
    *,
    precision: str = "bf16",
    checkpointing: str = "none",
    every: int | None = None,
    backend: str = "sdpa",
    on_cpu: bool = False,
) -> int:
    """Bytes per token that the forward pass of all blocks saves for the backward pass.

    Without checkpointing, a block saves the residual stream in fp32 before each norm (8·d) and the activations of its
    parts (``Cost.saved``, 2 bytes each under bf16 autocast). With a document mask, all layers of one window share the
    mask. With ``checkpointing`` (``llm_core.train.activation_checkpointing``), recomputed blocks save their fp32 input,
    with "selective" also the outputs of matrix products; one of them at a time saves the above. ``backend``: that of
    attention. ``eager`` saves its probabilities. The masks of ``eager`` and ``sdpa`` have a number for every key. A
    mask that all sequences share (windows or ALiBi without documents) is not counted.
    """
    d, element = spec.d_model, 4 if precision == "fp32" else 2
    depth = 0 if spec.multi_token is None else spec.multi_token.depth
    layers = [*spec.layers, *[mtp_layer(spec)] * depth]
    costs = [_layer_cost(spec, layer, sequence_length) for layer in layers]
    blocks = []
    for layer, cost in zip(layers, costs, strict=True):
        fp32 = 4 * (cost.mixer.saved_fp32 + cost.feed_forward.saved_fp32)
        fp32 += (8 if element < 4 else 4) * cost.feed_forward.saved_fp32_twice
        one_stream = layer.feed_forward is None or layer.parallel
        block = (4 * d if one_stream else 8 * d) + fp32
        block += 0 if layer.stream_scales is None else 4 * d
        if isinstance(layer.mixer, AttendingSpec):
            own_kv = layer.kv_from is None
            documents = spec.document_mask
            block += _saved_by_backend(layer.mixer, own_kv, documents, sequence_length, element, backend, on_cpu)
        blocks.append(block + element * (cost.mixer.saved + cost.feed_forward.saved))
    around = (8 + element) * d + _masks(spec, sequence_length, element, backend)  # with the final norm
    around += spec.embedding_norm and 4 * d
    # An MTP head saves the embedding that its norm reads, the concatenated results of both norms, and the input of its
    # last norm. Its residual stream comes from a product, so it is not fp32 (2 · element · d instead of 8 · d).
    around += depth * (5 * element - 4) * d
    if checkpointing == "none":
        return sum(blocks) + around
    saved, recomputed = [], []
    for number, (block, cost) in enumerate(zip(blocks, costs, strict=True)):
        if every is not None and number % every:
            saved.append(block)
            continue
        outputs = cost.mixer.matmul_outputs + cost.feed_forward.matmul_outputs if checkpointing == "selective" else 0
        saved.append(4 * d + element * outputs + 4 * layers[number].mixer.value_width())
        recomputed.append(block)
    return sum(saved) + max(recomputed) + around


def _saved_by_backend(
    mixer: AttendingSpec, own_kv: bool, documents: bool, length: int, element: int, backend: str, on_cpu: bool
) -> int:
    """Bytes per token that this backend saves for one layer and others do not."""
    seen = _seen_by_blocks(length, mixer.window)
    if backend in ("sdpa", "varlen"):
        # With a mask, keys and values are repeated for all heads of a group, except by sdpa on CPUs; varlen repeats
        # them always before torch 2.12. The projections are then saved only for the norms of queries and keys.
        masked = documents or mixer.position.biases or (mixer.window is not None and mixer.window < length)
        repeats = backend == "varlen" or (masked and not on_cpu)
        if not isinstance(mixer, Attention) or mixer.key_heads() == mixer.n_heads or not repeats:
            return 0
        n_heads, n_kv_heads, head_dim = mixer.heads()
        own = n_kv_heads if own_kv else 0
        if mixer.value_embedding is not None:  # rotated keys and summed values stand apart from the projection
            return 2 * element * head_dim * (n_heads - own)
        read = n_heads + 2 * own if mixer.qk_norm else 0
        return element * head_dim * (n_heads - 3 * own + read)
    if backend != "eager":
        return 0
    # The probabilities in fp32, and the operand of the product: the same tensor, or another one with dropout (which
    # also saves a byte per probability) and under autocast.
    probability = 4 + (element + 1 if mixer.dropout else element % 4)
    if mixer.softcap is not None:
        probability += 4  # tanh's
    hidden = seen if documents and not mixer.position.biases else 0  # the boolean mask, one byte per key
    return probability * mixer.n_heads * seen + hidden


def _masks(spec: ModelSpec, length: int, element: int, backend: str) -> int:
    """Bytes per token of the document masks: one mask for all layers with the same window and bias."""
    attending = [layer.mixer for layer in spec.layers if isinstance(layer.mixer, AttendingSpec)]
    if not spec.document_mask:
        return 0
    kinds = {(mixer.window, mixer.position.biases, mixer.n_heads) for mixer in attending}
    biased = {"sdpa": element, "eager": 4}.get(backend, 0)  # ALiBi's mask has a number for every head
    return length * sum(biased * heads if biases and biased else element for _, biases, heads in kinds)


QUERIES = 128
"""Queries whose scores ``eager`` computes at once."""


def _seen_by_blocks(length: int, window: int | None) -> int:
    """Keys per block of queries: the mean without a window, an upper bound with one."""
    seen = min(length, (length + QUERIES) // 2)
    return seen if window is None else min(seen, window + QUERIES - 1)


LOSS_CHUNK = 1024
"""Tokens whose logits ``linear_cross_entropy`` computes at once."""


def loss_bytes(spec: ModelSpec, vocab_size: int, tokens: int, *, precision: str = "bf16") -> int:
    """Bytes of the loss of a micro-batch of ``tokens``: the logits of a chunk, once in the compute type and twice in
    fp32; and, until the backward pass, the gradients of the last hidden states and (in fp32) of the head."""
    element = 4 if precision == "fp32" else 2
    chunk = min(tokens, LOSS_CHUNK) * vocab_size * (element + 8)
    losses = 1 + (0 if spec.multi_token is None else spec.multi_token.depth)
    return chunk + losses * spec.d_model * (tokens * element + 4 * vocab_size)
