"""The section about the model that the first run started from: where it is from, and what the full run changed."""

from llm_core.experiment.experiment import IMPORTED
from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Facts, Section, text
from llm_core.report.formatting import NONE, exact
from llm_core.report.sections.tuning import how_compared, scores_beside
from llm_core.science.tuning_comparison import BITS, HELDOUT, TuningComparison

COMPARED = "start_comparison"
LEARNT = {
    "better": "the run has made it better at this text",
    "worse": "the run has made it worse at this text",
    "undecided": "chance alone may explain the difference",
}


def start(job: Job) -> Section | None:
    """The imported model, and its scores beside those of the full run."""
    found = read.imported(job.inputs)
    if found is None:
        return None
    manifest = job.inputs[IMPORTED].manifest
    facts = [
        ("Parameters", exact(found.parameters)),
        ("Vocabulary", exact(found.vocab_size)),
        ("Longest text that it was made for", exact(found.longest) if found.longest else NONE),
        *((f"Digest of {name}", digest) for name, digest in sorted(manifest.source_digests.items())),
    ]
    blocks: list[Block] = [Facts(facts)]
    if COMPARED in job.inputs:
        for run, rows in job.inputs[COMPARED].results(TuningComparison).models.items():
            kept = next(row for row in rows if (row["task"], row["metric"]) == (HELDOUT, BITS))
            told = f"{kept['before']:.4f} at the start, {kept['after']:.4f} after the run"
            blocks.append(text(f"Bits per byte of this experiment's held-out text: {told}; {LEARNT[kept['verdict']]}."))
            blocks.append(scores_beside(rows, "Start", "After the run", run))
        blocks.append(how_compared())
    return Section("Start", blocks)
