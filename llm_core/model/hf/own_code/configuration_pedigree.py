"""The configuration of a model of Pedigree for ``transformers``. An exported folder has a copy of this file."""

from typing import Any

from transformers import PretrainedConfig


class PedigreeConfig(PretrainedConfig):
    """``pedigree``: the specification of the model, as JSON. The other fields repeat what other programs look for."""

    model_type = "pedigree"

    def __init__(
        self,
        pedigree: dict[str, Any] | None = None,
        vocab_size: int = 0,
        hidden_size: int = 0,
        num_hidden_layers: int = 0,
        max_position_embeddings: int = 0,
        **kwargs: Any,
    ) -> None:
        self.pedigree = pedigree
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.max_position_embeddings = max_position_embeddings
        # A tied head is no second parameter here, so there is nothing to tie.
        super().__init__(**{**kwargs, "tie_word_embeddings": False})
