"""The evaluation of further models, and the page that compares all of them."""

from collections.abc import Sequence

from assets.evaluation import evaluation
from assets.release import PAGE_FILES
from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import IMPORTED, Experiment
from llm_core.graph.stage import Stage


def stages(experiment: Experiment, others: Sequence[Stage]) -> list[Stage]:
    """An evaluation of each stage that ``evaluation.compare`` names, and ``model_comparison``; empty with one model.

    ``others``: all other stages. Raises ``PedigreeError`` for a name that is none of their training runs, and for a run
    with a tokenizer of its own.
    """
    models = {experiment.base_model(): "eval_results"}
    if experiment.start is not None and experiment.training is not None:
        models[IMPORTED] = "imported_eval_results"
    models |= {f"{name}_model": f"{name}_eval_results" for name in experiment.tunings()}
    runs = {stage.name: stage for stage in others if stage.kind == "training_run"}
    evaluations = []
    for name in experiment.evaluation.compare:
        place = f"{experiment.name}: evaluation.compare: {name}"
        if name not in runs:
            raise PedigreeError(f"{place}: no stage of this name trains a model; known: {', '.join(runs)}")
        run = runs[name]
        if run.inputs["tokenizer"] != "tokenizer":
            raise PedigreeError(f"{place}: has a tokenizer of its own, so it does not read the same items; remove it")
        if name in models:
            continue
        models[name] = f"{name}_eval_results"
        # With the sequence length of the full run, so that it reads the same windows of the same documents.
        evaluations.append(
            evaluation(
                models[name],
                "evaluation",
                f"The same scores for {name}.",
                experiment,
                name,
                run.config["model"],
                experiment.base_training(),
                compute=run.compute,
            )
        )
    if len(models) < 2:
        return []
    return [
        *evaluations,
        Stage(
            name="model_comparison",
            group="release",
            description="One HTML page: every score of every model, in pairs of items.",
            build="llm_core.report.model_comparison:build",
            results=":ModelComparison",
            code=PAGE_FILES,
            rebuild_when_damaged=True,
            inputs={scores: scores for scores in models.values()},
            config={"title": experiment.name, "models": models},
        ),
    ]
