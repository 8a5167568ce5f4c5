"""The stages that tune the trained model: ``instruct_model``, ``chat_model``, then ``preference_model``."""

from assets.evaluation import comparison, evaluation
from assets.export import gguf_exports, hf_export, onnx_exports
from assets.training import TRAIN_PACKAGES, started_run
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.preference import PreferenceSpec
from llm_core.experiment.tuning import TuningSpec
from llm_core.graph.stage import Stage

WHAT = {"instruct": "prompts and answers", "chat": "dialogues", "preference": "preferences"}
REFERENCE, MARGINS = "preference_reference", "preference_margins"


def stages(experiment: Experiment) -> list[Stage]:
    """The stages of every section that tunes; empty without one."""
    found: list[Stage] = []
    start = experiment.base_model()
    for name, tuning in experiment.tunings().items():
        found += _tuning(experiment, name, tuning, start)
        start = f"{name}_model"
    return [*found, _comparison(experiment)] if found else []


def told(experiment: Experiment) -> list[str]:
    """The stages that the training report reads."""
    exported = [*(["gguf"] if experiment.exports.gguf else []), *(["onnx"] if experiment.exports.onnx else [])]
    each = ("conversations", "shards", "mask_gate", "model", *exported)
    names = [f"{name}_{what}" for name in experiment.tunings() for what in each]
    margins = [MARGINS] if experiment.preference else []
    return [*names, *margins, "tuning_comparison"] if names else []


def _comparison(experiment: Experiment) -> Stage:
    scores = ("eval_results", *(f"{name}_eval_results" for name in experiment.tunings()))
    description = "Every score of the tuned models beside that of the base model, in pairs of items."
    return comparison(experiment, "tuning_comparison", "tuning", description, {name: name for name in scores})


def _tuning(experiment: Experiment, name: str, tuning: TuningSpec | PreferenceSpec, start: str) -> list[Stage]:
    persona = tuning.persona if isinstance(tuning, TuningSpec) else None
    pairs = _pairs(experiment, tuning, start) if isinstance(tuning, PreferenceSpec) else []
    conversations, shards, gate = f"{name}_conversations", f"{name}_shards", f"{name}_mask_gate"
    model, scores, length = f"{name}_model", f"{name}_eval_results", tuning.training.sequence_length
    return [
        Stage(
            name=conversations,
            kind="conversations",
            group="tuning",
            description="Conversations from files, without faulty ones and without those that contain an eval item.",
            build="llm_core.chat.conversations:build",
            results="llm_core.chat.results:Conversations",
            source_digests=":source_digests",
            look_up=":look_up",
            blocking=(":any_from_every_source", ":dropped_share"),
            non_blocking=(":contaminated_share",),
            config={
                "sources": tuning.sources,
                "persona": persona,
                "decontamination": experiment.decontamination,
                "suites": experiment.evaluation.suites,
            },
            bounds=experiment.checks,
        ),
        Stage(
            name=shards,
            kind="token_shards",
            group="tuning",
            description="Whole conversations as tokens, and which of them are targets.",
            build="llm_core.chat.shards:build",
            results="llm_core.chat.results:ConversationShards",
            parts=":parts",
            blocking=(":both_splits", ":too_long"),
            non_blocking=(":control_tokens_typed",),
            inputs={"conversations": conversations, "tokenizer": "tokenizer"},
            config={
                "shards": experiment.shards,
                "template": tuning.jinja(),
                "heldout_share": tuning.heldout_share,
                "sequence_length": length,
                "persona": persona,
            },
            bounds=experiment.checks,
        ),
        Stage(
            name=gate,
            kind="mask_gate",
            group="tuning",
            description="Whether the targets in the shards are the assistant's turns, and nothing else.",
            build="llm_core.chat.mask_gate:build",
            results="llm_core.chat.results:MaskGate",
            blocking=(":all_have_targets", ":targets_are_answers", ":share_of_targets", ":none_missing"),
            inputs={"shards": shards, "conversations": conversations, "tokenizer": "tokenizer"},
            bounds=experiment.checks,
        ),
        started_run(
            model,
            "tuning",
            f"The model, tuned on {WHAT[name]}.",
            experiment,
            experiment.model,
            tuning.training,
            start=start,
            shards=REFERENCE if pairs else shards,
            gates=(gate,),
        ),
        *pairs,
        # With the sequence length of the full run, so that it reads the same windows of the same documents.
        evaluation(
            scores,
            "tuning",
            f"The same scores for the model tuned on {WHAT[name]}.",
            experiment,
            model,
            experiment.model,
            experiment.base_training(),
        ),
        hf_export(experiment, f"{name}_export", "tuning", model),
        *gguf_exports(experiment, f"{name}_gguf", "tuning", model),
        *onnx_exports(experiment, f"{name}_onnx", "tuning", model),
    ]


def _pairs(experiment: Experiment, preference: PreferenceSpec, start: str) -> list[Stage]:
    """The likelihoods of the answers before the tuning, and what it made of them."""
    training = preference.training
    config = {
        "model": experiment.model,
        "sequence_length": training.sequence_length,
        "precision": training.precision,
    }
    assert training.dpo is not None
    return [
        Stage(
            name=REFERENCE,
            kind="token_shards",
            group="tuning",
            description="The pairs, with the likelihoods of their answers before the tuning.",
            build="llm_core.evals.reference:build",
            results="llm_core.evals.preference_results:PreferenceReference",
            blocking=("llm_core.evals.preference_results:all_finite",),
            inputs={"shards": "preference_shards", "model": start},
            gates=("preference_mask_gate",),
            config=config,
            packages=TRAIN_PACKAGES,
            bounds=experiment.checks,
        ),
        Stage(
            name=MARGINS,
            group="tuning",
            description="How many chosen answers of held-out pairs the tuned model prefers, and by how much.",
            build="llm_core.evals.preferences:build",
            results="llm_core.evals.preference_results:PreferenceMargins",
            non_blocking=("llm_core.evals.preference_results:prefers_chosen",),
            inputs={"shards": REFERENCE, "model": "preference_model"},
            config={**config, "beta": training.dpo.beta},
            packages=TRAIN_PACKAGES,
            bounds=experiment.checks,
        ),
    ]
