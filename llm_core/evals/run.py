"""``python -m llm_core.evals.run spec.json``: lm-eval in a process of its own, since it reseeds random generators.

The specification names the files; the outcome is ``scores.jsonl`` (one line a document, question or item) and
``lm_eval.json`` (what lm-eval reports).
"""

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llm_core.evals.suite_tasks import suite_task
from llm_core.evals.tasks import continuation_task, heldout_task
from llm_core.launch import LIFELINE


@dataclass(frozen=True)
class RunSpec:
    """Paths are absolute; ``documents`` and ``questions`` are JSON-lines files; ``eot`` is a token id.

    ``model`` is a folder, and ``architecture`` the canonical specification that it must hold. ``suites`` are the
    further tasks: name, kind and rows of each (see ``suite_task``).
    """

    model: str
    architecture: dict[str, Any]
    tokenizer: str
    documents: str
    questions: str
    eot: int
    sequence_length: int
    batch_size: int
    scores: str
    report: str
    progress: str
    precision: str = "fp32"
    """That of the training."""
    attention_backend: str = "auto"
    """The same."""
    suites: list[dict[str, str]] = field(default_factory=list)
    code: dict[str, Any] = field(default_factory=dict)
    """The claim of the code that the evaluation is planned with."""

    def write(self, path: Path) -> None:
        """Write the file that ``main`` reads."""
        path.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def as_trained(precision: str, attention_backend: str, device: str) -> tuple[str, str]:
    """Precision and attention backend of an evaluation on a ``device`` of this type, from those of the training.

    On a GPU they are the same, but for two. fp8 becomes the bf16 around it: a scale of fp8 follows from all numbers of
    a tensor, so a row's score would depend on the rows beside it. varlen becomes sdpa, which computes the same: varlen
    has a bound on the number of documents, and rows of answers can be very short. A CPU evaluates in fp32, whatever
    trained the model: many have no units for bf16, and would take many times as long.
    """
    if device == "cpu":
        return "fp32", "auto"
    return {"fp8": "bf16"}.get(precision, precision), {"varlen": "sdpa"}.get(attention_backend, attention_backend)


def main(path: Path) -> None:
    """Evaluate as the specification in ``path`` says; ``PedigreeError`` when the model is another one."""
    spec = RunSpec(**json.loads(path.read_text(encoding="utf-8")))
    started = time.monotonic()
    # Both are read when the libraries are imported: nothing is ever looked up on the network.
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import handle_non_serializable

    from llm_core.errors import PedigreeError
    from llm_core.evals.lm import PedigreeLM
    from llm_core.experiment.base import canonical
    from llm_core.graph.code_claim import CodeClaim
    from llm_core.model.files import load_model, read_info
    from llm_core.tokens.prompts import prompt_tokenizer
    from llm_core.train.threads import threads_per_rank

    imported = time.monotonic()
    claim = CodeClaim.model_validate_json(json.dumps(spec.code))
    claim.load()
    claim.check("eval_results")
    found, _ = read_info(Path(spec.model))
    if canonical(found, absent=True) != spec.architecture:
        raise PedigreeError(f"{spec.model}: holds another model than the experiment describes; make it again")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision, attention_backend = as_trained(spec.precision, spec.attention_backend, device)
    model, _ = load_model(Path(spec.model), device)
    model.attention_backend = attention_backend
    tokenizer = prompt_tokenizer(Path(spec.tokenizer))
    # One thread a batch, and as many batches at a time as there are cores: sums in parallel would come out a little
    # different on another number of cores.
    torch.set_num_threads(1)
    workers = 1 if device == "cuda" else threads_per_rank(1)
    lm = PedigreeLM(
        model,
        tokenizer,
        spec.eot,
        spec.sequence_length,
        spec.batch_size,
        workers,
        lambda *done: _tell(spec.progress, done),
        precision,
    )
    tasks = TaskManager(include_defaults=False).load(
        [
            heldout_task(Path(spec.documents)),
            continuation_task(Path(spec.questions)),
            *(suite_task(suite["name"], suite["kind"], Path(suite["rows"])) for suite in spec.suites),
        ]
    )
    # Standard errors are computed from the scores: lm-eval has none for a ratio of sums.
    report: dict[str, Any] = evaluate(lm=lm, task_dict=tasks, bootstrap_iters=0, log_samples=True)
    samples = report.pop("samples")
    with Path(spec.scores).open("w", encoding="utf-8") as file:
        for task, rows in samples.items():
            for row in rows:
                score = {"task": task, "row": row["doc_id"], **{name: row[name] for name in row["metrics"]}}
                file.write(json.dumps(score) + "\n")
    report["seconds"] = {
        "importing": round(imported - started, 2),
        "evaluating": round(time.monotonic() - imported, 2),
    }
    report |= {"device": device, "precision": precision}
    claim.check("eval_results")
    Path(spec.report).write_text(
        json.dumps(report, indent=2, sort_keys=True, default=handle_non_serializable), encoding="utf-8"
    )


def _end_with_launcher() -> None:
    """Where standard input is the launcher's lifeline, its end means that nobody waits for the outcome."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    if os.environ.get(LIFELINE) == "stdin":
        threading.Thread(target=watch, daemon=True).start()


def _tell(path: str, done: tuple[int, int]) -> None:
    """Overwrite the progress file in one step, so that its reader never sees half of it."""
    fresh = Path(f"{path}.new")
    fresh.write_text(json.dumps(done), encoding="utf-8")
    fresh.replace(path)


if __name__ == "__main__":
    _end_with_launcher()
    main(Path(sys.argv[1]))
