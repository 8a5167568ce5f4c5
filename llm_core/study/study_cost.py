"""The stage ``study_cost``: hours and dollars of all runs of the study, as measured."""

from collections.abc import Mapping, Sequence

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.study.inputs import trained
from llm_core.study.results import StudyCost
from llm_core.study.study_run import StudyRun


def build(job: Job, runs: Mapping[str, Sequence[StudyRun]], flops: int) -> StudyCost:
    """``runs``: part of the study → its runs. Equal runs are one artifact, and count once. ``flops``: of all that they
    train."""
    price = job.runtime.compute.price_per_gpu_hour
    hours, gpu_hours, counts, seen = {}, 0.0, {}, set[str]()
    for part, of_part in runs.items():
        new = {job.inputs[run.role].manifest.identity: run for run in of_part}
        found = [trained(job, run) for identity, run in new.items() if identity not in seen]
        seen |= new.keys()
        counts[part] = len(found)
        hours[part] = sum(results.seconds_training for results in found) / 3600
        on_gpu = [results for results in found if not results.device.startswith("CPU")]
        gpu_hours += sum(results.ranks * results.seconds_training for results in on_gpu) / 3600
    return StudyCost(
        runs=counts,
        flops=flops,
        hours=hours,
        gpu_hours=gpu_hours,
        dollars=gpu_hours * price if price else None,
    )


def price_known(results: StudyCost, bounds: None) -> Verdict:
    """The GPU hours have a price, or there are none."""
    del bounds
    hours = f"{sum(results.hours.values()):,.2f} hours of training"
    if not results.gpu_hours:
        return Verdict(True, f"{hours}, on the CPU")
    if results.dollars is None:
        return Verdict(False, f"{hours}; set compute.price_per_gpu_hour to see what they cost")
    return Verdict(True, f"{hours}, ${results.dollars:,.2f} for the GPUs", value=results.dollars)
