"""Keys and values of tokens already seen, so that generating one more costs one token's work."""

import torch
from torch import Tensor

from llm_core.experiment.model import ModelSpec


class KVCache:
    """Room for ``max_length`` tokens of ``batch_size`` sequences, all at the same position.

    ``length`` counts the tokens stored; the decoder moves it on once all layers have stored theirs. For use without
    gradients: entries are written in place.
    """

    def __init__(
        self,
        spec: ModelSpec,
        batch_size: int,
        max_length: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (spec.n_layers, 2, batch_size, spec.n_kv_heads, max_length, spec.head_dim)
        self.entries = torch.empty(shape, device=device, dtype=dtype)
        self.max_length = max_length
        self.length = 0

    def extend(self, layer: int, keys_BKTC: Tensor, values_BKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values of one layer; returns all of them so far, (B, K, S, C) each.

        Raises ``ValueError`` when they do not fit.
        """
        end = self.length + keys_BKTC.shape[2]
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} tokens; {end} are needed")
        keys, values = self.entries[layer, 0], self.entries[layer, 1]
        keys[:, :, self.length : end] = keys_BKTC
        values[:, :, self.length : end] = values_BKTC
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, tokens: int) -> None:
        """Count ``tokens`` more as stored."""
        self.length += tokens
