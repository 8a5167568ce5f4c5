"""What a study costs beside the run that it is for."""

from collections.abc import Mapping

from assets.study import launched_run, study_ladder
from llm_core.graph.price import Price
from pipelines.session import Session
from pipelines.show import told_total


def study_note(session: Session, costs: Mapping[str, Price]) -> str | None:
    """The cost of the study beside that of the full run; None without a study. ``costs``: of all stages to be made."""
    experiment = session.experiment
    if experiment.study is None:
        return None
    share = study_ladder(experiment).flops / launched_run(experiment).flops
    own = [cost for stage, cost in costs.items() if session.graph[stage].group == "study"]
    to_make = f"; to be made: {told_total(own)}" if any(cost.hours is not None for cost in own) else ""
    return f"the study takes {share:.1%} of the FLOPs of the full run{to_make}"
