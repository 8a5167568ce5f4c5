"""The stage ``hf_export``: the trained model as a folder that ``transformers`` loads.

Every plan imports this module for its checks, so only ``build`` imports torch.
"""

import shutil

from llm_core.experiment.chat import TEMPLATE_FILE
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.model.hf.results import HFExport

WHY_NOT = "why_not.txt"

ROUNDING = 2e-7
"""The rounding of a weight near 1 that is stored as its difference from 1."""


def build(job: Job, model: ModelSpec, sequence_length: int, families: tuple[str, ...]) -> HFExport:
    """Write configuration, fp32 weights and tokenizer as the first of ``families`` that fits, and read them back.

    If none fits, the folder has the code of the model, and ``why_not.txt`` the reasons per family. A model with
    components of plug-ins is then not exported.
    """
    from llm_core.chat.model_chat import stop_ids
    from llm_core.model.files import check_model, load_model
    from llm_core.model.hf.exporting import export_folder
    from llm_core.model.hf.families import why_none
    from llm_core.model.hf.importing import import_folder
    from llm_core.model.hf.own_code.family import OWN_CODE
    from llm_core.model.parametrization import folded_spec

    folder = job.path("model")
    check_model(folder, model)
    reasons = why_none(folded_spec(model), families)
    if reasons:
        reasons = "\n".join([reasons, *OWN_CODE.reasons_against(model)])
        (job.out / WHY_NOT).write_text(reasons + "\n", encoding="utf-8")
        if OWN_CODE.reasons_against(model):
            return HFExport(model_type=None, reasons=reasons.splitlines(), largest_difference=0.0)
    network, _ = load_model(folder)
    tokenizer = job.path("tokenizer", "tokenizer.json")
    family = export_folder(
        network,
        job.out,
        sequence_length=sequence_length,
        tokenizer=tokenizer,
        stop=stop_ids(folder, tokenizer),
        families=families,
    )
    if (folder / TEMPLATE_FILE).is_file():
        shutil.copyfile(folder / TEMPLATE_FILE, job.out / TEMPLATE_FILE)
    back = import_folder(job.out).weights
    difference = max(float((back[name] - tensor).abs().max()) for name, tensor in network.state_dict().items())
    return HFExport(model_type=family.name, reasons=reasons.splitlines(), largest_difference=difference)


def same_weights(results: HFExport, bounds: ChecksSpec) -> Verdict:
    """The weights in the folder are those of the artifact."""
    del bounds
    difference = results.largest_difference
    message = f"weights read back differ by at most {difference:.1e}"
    return Verdict(difference <= ROUNDING, message, value=difference, bound=ROUNDING)


def loads_in_transformers(results: HFExport, bounds: ChecksSpec) -> Verdict:
    """transformers loads the folder, as an architecture of its own or with the code in the folder."""
    del bounds
    kind, told = results.model_type, ""
    if results.reasons:
        told = f"; it has no architecture of its own for it: {'; '.join(results.reasons)}"
    if kind is None:
        return Verdict(False, f"transformers can't load it{told}")
    return Verdict(True, f"transformers loads it as {kind}{', with trust_remote_code' if told else ''}{told}")
