"""Any model of the project, by its own code: what no family of ``transformers`` can express."""

import json
from collections.abc import Iterator

from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.hf.config import Config, UnsupportedError
from llm_core.model.hf.family import Family
from llm_core.model.hf.own_code.sources import code_files, foreign_components
from llm_core.model.hf.weights import Weight

_PREFIX = "decoder."


class OwnCode(Family):
    """A family whose folders have the code of their model, and whose configuration has the whole specification."""

    def read(self, config: Config) -> ModelSpec:
        """See ``Family``."""
        if not isinstance(config.get("pedigree"), dict):
            raise UnsupportedError("pedigree is missing: the specification of the model")
        return ModelSpec.model_validate_json(json.dumps(config["pedigree"]))

    def write(self, spec: ModelSpec) -> Config:
        """See ``Family``."""
        return {
            "auto_map": {
                "AutoConfig": "configuration_pedigree.PedigreeConfig",
                "AutoModelForCausalLM": "modeling_pedigree.PedigreeForCausalLM",
            },
            "pedigree": spec.model_dump(mode="json"),
            "hidden_size": spec.d_model,
            "num_hidden_layers": spec.n_layers,
            "tie_word_embeddings": False,
        }

    def code(self, spec: ModelSpec) -> dict[str, str]:
        """See ``Family``."""
        return code_files(spec)

    def weights(self, spec: ModelSpec) -> Iterator[Weight]:
        """See ``Family``."""
        names = build_model(spec, 1, device="meta").state_dict()
        return (Weight(name, (f"{_PREFIX}{name}",)) for name in names)

    def reasons_against(self, spec: ModelSpec) -> list[str]:
        """See ``Family``. Only components of plug-ins can't be exported."""
        return [f"{module} is of a plug-in" for module in foreign_components(spec)]


OWN_CODE = OwnCode(
    name="pedigree",
    architecture="PedigreeForCausalLM",
    parts=(),
    always={},
    outer=(),
    block=lambda _spec, _layer: [],
    prefix=_PREFIX,
)
