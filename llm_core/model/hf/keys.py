"""Keys of a ``config.json`` that many families have in common."""

from llm_core.model.hf.config import Derived, Fixed, Key, Part

SIZES = (
    Key("hidden_size", "d_model"),
    Key("num_attention_heads", "mixer.n_heads"),
    Key("initializer_range", "init_std", absent=0.02),
)

TIED = Key("tie_word_embeddings", "tie_embeddings", absent=True)
UNTIED = Key("tie_word_embeddings", "tie_embeddings", absent=False)

HEAD_DIM = Key("head_dim", "mixer.head_dim", absent=None)


def attention_dropout(theirs: str, absent: float = 0.0) -> Derived:
    """The dropout of attention's weights; no value means ``absent``."""
    return Derived(theirs, "mixer.dropout", lambda share, _: absent if share is None else float(share))


ATTENTION_DROPOUT = attention_dropout("attention_dropout")


def kv_heads(absent: int | None) -> Key:
    """Heads of keys and values. ``absent``: the family's value for a configuration without the key."""
    return Key("num_key_value_heads", "mixer.n_kv_heads", absent)


def llama_like(norm_eps: float = 1e-6) -> tuple[Part, ...]:
    """The keys of Llama and its relatives, without the feed-forward. ``norm_eps``: its default."""
    return (*SIZES, Key("rms_norm_eps", "norm.eps", absent=norm_eps), ATTENTION_DROPOUT, Fixed("hidden_act", "silu"))
