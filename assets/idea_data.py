"""The data of a study's ideas: what an idea changes has stages of its own, and all else is that of the launched run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from assets import data, tokens
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage


@dataclass(frozen=True)
class IdeaData:
    """``experiment``: the launched one with the data of the idea. ``stages``: those that differ. ``read``: the inputs
    of its runs, and ``gates`` their gates."""

    experiment: Experiment
    stages: tuple[Stage, ...]
    read: Mapping[str, str]
    gates: tuple[str, ...]

    @property
    def retokenized(self) -> bool:
        """Whether it has a tokenizer of its own."""
        return self.read["tokenizer"] != "tokenizer"


def idea_data(experiment: Experiment) -> dict[str, IdeaData]:
    """Idea → its data, for the ideas that change it."""
    ideas = experiment.study.ideas if experiment.study else {}
    return {idea: _of(experiment, idea) for idea, changes in ideas.items() if "data" in changes}


def _of(experiment: Experiment, idea: str) -> IdeaData:
    assert experiment.study is not None
    changed = experiment.with_data(idea)
    launched = {stage.name: stage for stage in (*data.stages(experiment), *tokens.stages(experiment))}
    names: dict[str, str] = {}
    made: list[Stage] = []

    def add(stage: Stage) -> None:
        """Add a stage unless the launched one has the same settings and inputs."""
        inputs = {role: names.get(name, name) for role, name in stage.inputs.items()}
        usual = launched.get(stage.name)
        if usual is None or (usual.inputs, usual.config) != (inputs, stage.config):
            names[stage.name] = f"idea_data/{idea}/{stage.name}"
            made.append(replace(stage, name=names[stage.name], group="study", inputs=inputs, frozen=False))

    for stage in data.stages(changed):
        if stage.name != "pretraining_documents":
            add(stage)
    if documents := names.get("decontaminated_documents"):
        add(_documents(experiment, changed, documents))
    for stage in tokens.stages(changed):
        # Without a tokenizer of its own, an idea has the launched one: only its documents differ.
        if stage.name != "tokenizer" or changed.tokenizer != experiment.tokenizer:
            add(stage)
    read = {"shards": names["token_shards"], "tokenizer": names.get("tokenizer", "tokenizer")}
    gates: tuple[str, ...] = ()
    if "tokenizer" in names:
        gates = (f"idea_data/{idea}/heldout_coverage",)
        made.append(
            Stage(
                name=gates[0],
                kind="heldout_coverage",
                group="study",
                description="Whether a validation reads all held-out text, with the launched tokenizer and this one.",
                build="llm_core.study.heldout_coverage:build",
                results="llm_core.study.results:HeldoutCoverage",
                blocking=(":all_validated",),
                inputs={"launched": "token_shards", "idea": read["shards"]},
                bounds=experiment.study.changed(idea, experiment.model, experiment.full_run())[1],
            )
        )
    return IdeaData(changed, tuple(made), read, gates)


def _documents(experiment: Experiment, changed: Experiment, documents: str) -> Stage:
    near = min(spec.dedup.minhash.min_similarity for spec in (experiment, changed))
    return Stage(
        name="pretraining_documents",
        kind="idea_documents",
        group="study",
        description="The idea's training documents, without any form of the launched held-out ones, and those.",
        build="llm_core.data.idea_documents:build",
        results="llm_core.data.results:IdeaDocuments",
        blocking=("llm_core.data.checks:not_empty", ":no_leakage"),
        inputs={"documents": documents, "launched": "pretraining_documents"},
        config={
            "split": experiment.split,
            "minhash": changed.dedup.minhash.model_copy(update={"min_similarity": near}),
        },
        bounds=experiment.checks,
    )
