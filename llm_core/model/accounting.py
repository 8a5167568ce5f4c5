"""What a model costs, by formula: parameters, FLOPs, cache and activations. Needs no torch."""

from dataclasses import dataclass

from llm_core.experiment.model import ModelSpec

FLOPS_CONVENTION = "6·N + 12·L·d·T per token: forward and backward, full attention, N without the embedding lookup"


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters by part. A tied head is counted once, as ``embedding``."""

    embedding: int
    head: int
    attention: int
    feed_forward: int
    norms: int

    @property
    def total(self) -> int:
        """All parameters, with the embedding."""
        return self.embedding + self.head + self.attention + self.feed_forward + self.norms

    @property
    def without_embeddings(self) -> int:
        """All but embedding and head (the N of Kaplan et al., 2020)."""
        return self.attention + self.feed_forward + self.norms


def parameter_count(spec: ModelSpec, vocab_size: int) -> ParameterCount:
    """Parameters of ``build_model(spec, vocab_size)``, by part."""
    d, layers = spec.d_model, spec.n_layers
    qkv = d * (spec.n_heads + 2 * spec.n_kv_heads) * spec.head_dim
    head_norms = 2 * spec.head_dim if spec.qk_norm else 0
    return ParameterCount(
        embedding=vocab_size * d,
        head=0 if spec.tie_embeddings else vocab_size * d,
        attention=layers * (qkv + d * d),
        feed_forward=layers * 3 * d * spec.d_ff,
        norms=layers * (2 * d + head_norms) + d,
    )


def block_parameters(spec: ModelSpec) -> int:
    """Parameters of one block: what FSDP2 gathers at a time."""
    return (parameter_count(spec, 0).total - spec.d_model) // spec.n_layers


def flops_per_token(spec: ModelSpec, vocab_size: int, sequence_length: int) -> int:
    """Training FLOPs of one token, forward and backward: 6·N + 12·L·d·T (Chowdhery et al., 2022, appendix B).

    N counts every parameter but the embedding's look-up; a tied matrix counts, since it is the head. Attention counts
    the whole T × T square, as most published MFU figures do, though causal kernels do half of it. Recomputation for
    activation checkpointing is not counted: MFU means useful FLOPs.
    """
    count = parameter_count(spec, vocab_size)
    matrices = count.total - (0 if spec.tie_embeddings else count.embedding)
    return 6 * matrices + 12 * spec.n_layers * spec.d_model * sequence_length


def kv_cache_bytes_per_token(spec: ModelSpec, element_bytes: int = 2) -> int:
    """Bytes that one token of one sequence takes in the KV cache (bf16 by default)."""
    return 2 * spec.n_layers * spec.n_kv_heads * spec.head_dim * element_bytes


def activation_bytes_per_token(
    spec: ModelSpec, sequence_length: int, *, precision: str = "bf16", checkpointing: bool = False
) -> int:
    """Bytes that the forward pass of all blocks keeps for the backward pass, a token.

    Without checkpointing, a block keeps (e: bytes of what matrices are multiplied in, 2 under bf16 autocast):

    - twice the residual stream and its norm, in fp32: 16·d
    - inputs of the products qkv and gate/up: 2·e·d; attention's result and the same in token order: 2·e·d; gate, up,
      silu(gate) and product: 4·e·F
    - queries, keys and values, and the turned queries and keys: e·(2·d + 3·kv); with a document mask, instead, what
      attention gets after grouped heads are repeated: 3·e·d
    - with QK-norm, the normalised heads in fp32, and under autocast an fp32 copy of what goes in: 4 or 8·(d + kv)
    - with a document mask, its row in attention's type, which SDPA converts it to in every layer: e·T

    With it, every block keeps its fp32 input, and one block at a time keeps the above.
    """
    d, kv = spec.d_model, spec.n_kv_heads * spec.head_dim
    element = 2 if precision == "bf16" else 4
    heads = 3 * d if spec.document_mask and kv < d else 2 * d + 3 * kv
    block = 16 * d + element * (4 * d + heads + 4 * spec.d_ff)
    if spec.qk_norm:
        block += (8 if precision == "bf16" else 4) * (d + kv)
    if spec.document_mask:
        block += element * sequence_length
    final_norm = (8 + element) * d
    if checkpointing:
        return 4 * d * spec.n_layers + block + final_norm
    return block * spec.n_layers + final_norm


def logits_bytes_per_token(vocab_size: int, precision: str = "bf16") -> int:
    """Bytes of logits a token, at the peak: log-probabilities in fp32, and logits or their gradient, twice."""
    element = 2 if precision == "bf16" else 4
    return (4 + 2 * element) * vocab_size
