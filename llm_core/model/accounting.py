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
