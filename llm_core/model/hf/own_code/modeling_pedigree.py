"""A model of Pedigree for ``transformers``. An exported folder has a copy of this file and of all that it imports."""

import json
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

import llm_core.model.hf.own_code.components_pedigree  # noqa: F401
from llm_core.experiment.model import ModelSpec
from llm_core.model.backends import choose_backend
from llm_core.model.decoder import Decoder
from llm_core.model.hf.own_code.configuration_pedigree import PedigreeConfig
from llm_core.model.init import initialise
from llm_core.model.state import DecodingState, new_state


class PedigreeState:
    """A decoding state in the place of a cache of ``transformers``."""

    is_compileable = False

    def __init__(self, state: DecodingState) -> None:
        self.state = state

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens read."""
        del layer_idx
        return self.state.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beam search is not supported: raises ``NotImplementedError``."""
        del beam_idx
        raise NotImplementedError("models of Pedigree do not support beam search here; set num_beams to 1")


class PedigreeForCausalLM(PreTrainedModel, GenerationMixin):
    """``Decoder`` with the interface of ``transformers``.

    Each row is one document. Rows may be padded on the left, except for training.
    """

    config_class = PedigreeConfig
    base_model_prefix = "decoder"
    _is_stateful = True  # a state can't be rolled back, as assisted decoding does

    def __init__(self, config: PedigreeConfig) -> None:
        super().__init__(config)
        spec = ModelSpec.model_validate_json(json.dumps(config.pedigree))
        self.decoder = Decoder(spec.model_copy(update={"document_mask": False}), config.vocab_size)
        if not next(self.decoder.parameters()).is_meta:
            initialise(self.decoder, spec)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All weights come from the file."""

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.decoder.embedding

    def get_output_embeddings(self) -> nn.Module | None:
        """The head; None if it is the embedding."""
        return self.decoder.head

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *_args: Any, **_kwargs: Any
    ) -> Any:
        model_kwargs["room"] = generation_config.max_length

    def prepare_inputs_for_generation(self, input_ids: Tensor, *_args: Any, **kwargs: Any) -> Any:
        """The tokens that the state has not read, and what ``forward`` takes beside them."""
        state = kwargs.get("past_key_values")
        taken = {name: kwargs.get(name) for name in ("past_key_values", "attention_mask", "use_cache", "room")}
        return {"input_ids": input_ids if state is None else input_ids[:, state.get_seq_length() :], **taken}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: PedigreeState | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        room: int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, T, V), or of the last ``logits_to_keep`` tokens.

        ``use_cache``: whether to return a state for ``past_key_values``; ``room``: the tokens that it can hold, by
        default ``max_position_embeddings``.
        """
        padded = attention_mask is not None and past_key_values is None and not bool(attention_mask[:, 0].all())
        if past_key_values is None and (use_cache or padded):
            if padded and torch.is_grad_enabled():
                raise ValueError("rows padded on the left can't be trained; pad them on the right")
            length = room or (self.config.max_position_embeddings if use_cache else 0)
            documents_BT = attention_mask.long() - 1 if padded else None  # type: ignore[union-attr]
            state = new_state(self.decoder, len(input_ids), max(length, input_ids.shape[1]), documents_BT)
            past_key_values = PedigreeState(state)
        self.decoder.attention_backend = choose_backend(self.decoder.spec, input_ids.device.type, decoding=True)
        logits_BTV = self.decoder(
            input_ids,
            state=None if past_key_values is None else past_key_values.state,
            only=-1 if logits_to_keep == 1 else None,
        )
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BTV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        kept: Any = past_key_values if use_cache else None
        return CausalLMOutputWithPast(loss=loss, logits=logits_BTV[:, -logits_to_keep:], past_key_values=kept)
