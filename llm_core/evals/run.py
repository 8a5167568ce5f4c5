"""``python -m llm_core.evals.run spec.json``: lm-eval in its own process, because it reseeds random generators.

The specification names the files. The output is ``scores.jsonl`` (one line per document, question or item) and
``lm_eval.json`` (lm-eval's report).
"""

import json
import math
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llm_core.evals.generated import SUFFIX, TEXT, generation_task
from llm_core.evals.suite_tasks import suite_task
from llm_core.evals.tasks import CHOICE_BITS, continuation_task, heldout_task
from llm_core.launch import LIFELINE


@dataclass(frozen=True)
class RunSpec:
    """Paths are absolute. ``documents`` and ``questions`` are JSON-lines files, or None. ``eot`` is a token id.

    ``model`` is a folder, and ``architecture`` the canonical specification that it must contain. ``suites``: name, kind
    and rows of each suite (see ``suite_task``); where the model writes also ``generation`` (see ``generation_task``).
    """

    model: str
    architecture: dict[str, Any]
    tokenizer: str
    documents: str | None
    questions: str | None
    eot: int
    sequence_length: int
    batch_size: int
    scores: str
    report: str
    progress: str
    precision: str = "fp32"
    """The precision of the training."""
    attention_backend: str = "auto"
    """The same."""
    device_type: str = "auto"
    """``compute.device_type``, see ``device_of``."""
    suites: list[dict[str, Any]] = field(default_factory=list)
    stage: str = "eval_results"
    """For whom it runs, in messages."""
    code: dict[str, Any] = field(default_factory=dict)
    """The claim of the code with which the evaluation was planned."""

    def write(self, path: Path) -> None:
        """Write the specification file for ``main``."""
        path.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def device_of(device_type: str) -> str:
    """The device of an evaluation: CUDA where torch finds it and ``compute.device_type`` allows it, else the CPU."""
    import torch

    return "cuda" if device_type in ("auto", "cuda") and torch.cuda.is_available() else "cpu"


def as_trained(precision: str, attention_backend: str, device: str) -> tuple[str, str]:
    """Precision and attention backend of an evaluation on a ``device`` of this type, from those of the training.

    On a GPU they are the same, with two exceptions. fp8 becomes bf16, because an fp8 scale depends on all numbers of a
    tensor, so a row's score would depend on the other rows. varlen becomes sdpa, which computes the same, because
    varlen has a limit on the number of documents, and rows of answers can be very short. A CPU always evaluates in
    fp32: many CPUs have no bf16 units, and would be many times slower.
    """
    if device == "cpu":
        return "fp32", "auto"
    return {"fp8": "bf16"}.get(precision, precision), {"varlen": "sdpa"}.get(attention_backend, attention_backend)


def main(path: Path) -> None:
    """Run the evaluation that ``path`` specifies. Raises ``PedigreeError`` for a different model."""
    spec = RunSpec(**json.loads(path.read_text(encoding="utf-8")))
    started = time.monotonic()
    # The libraries read both at import: no network access at all.
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
    claim.check(spec.stage)
    found, _ = read_info(Path(spec.model))
    if canonical(found, absent=True) != spec.architecture:
        raise PedigreeError(
            f"{spec.model}: not the model that the experiment describes; make the stage that trains it again"
        )
    device = device_of(spec.device_type)
    precision, attention_backend = as_trained(spec.precision, spec.attention_backend, device)
    model, _ = load_model(Path(spec.model), device)
    model.attention_backend = attention_backend
    tokenizer = prompt_tokenizer(Path(spec.tokenizer))
    # One thread per batch, and one batch per core: parallel sums would depend a little on the number of cores.
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
            *([heldout_task(Path(spec.documents))] if spec.documents else []),
            *([continuation_task(Path(spec.questions))] if spec.questions else []),
            *(
                suite_task(suite["name"], suite["kind"], Path(suite["rows"]), suite.get("criterion", "sum"))
                for suite in spec.suites
                if suite["kind"] != "instructions"  # no answer is the right one
            ),
            *(
                generation_task(suite["name"], Path(suite["rows"]), **suite["generation"])
                for suite in spec.suites
                if "generation" in suite
            ),
        ]
    )
    # Standard errors are computed from the scores, because lm-eval has none for a ratio of sums.
    report: dict[str, Any] = evaluate(lm=lm, task_dict=tasks, bootstrap_iters=0, log_samples=True)
    samples = report.pop("samples")
    scores: dict[tuple[str, int], dict[str, Any]] = {}
    for task, rows in samples.items():
        for row in rows:
            suite = task.removesuffix(SUFFIX)
            score = scores.setdefault((suite, row["doc_id"]), {"task": suite, "row": row["doc_id"]})
            score |= {name: row[name] for name in row["metrics"]}
            if task.endswith(SUFFIX):
                score[TEXT] = row["filtered_resps"][0]
            else:
                answers = [answer[0] if isinstance(answer, tuple) else answer for answer in row["filtered_resps"]]
                score[CHOICE_BITS] = [-nats / math.log(2) for nats in answers]
    with Path(spec.scores).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(score) + "\n" for score in scores.values())
    report["seconds"] = {
        "importing": round(imported - started, 2),
        "evaluating": round(time.monotonic() - imported, 2),
    }
    report |= {"device": device, "precision": precision}
    claim.check(spec.stage)
    Path(spec.report).write_text(
        json.dumps(report, indent=2, sort_keys=True, default=handle_non_serializable), encoding="utf-8"
    )


def _end_with_launcher() -> None:
    """Exit when the launcher's lifeline (standard input) ends, because then nobody waits for the result."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    if os.environ.get(LIFELINE) == "stdin":
        threading.Thread(target=watch, daemon=True).start()


def _tell(path: str, done: tuple[int, int]) -> None:
    """Replace the progress file atomically, so that a reader never sees half of it."""
    fresh = Path(f"{path}.new")
    fresh.write_text(json.dumps(done), encoding="utf-8")
    fresh.replace(path)


if __name__ == "__main__":
    _end_with_launcher()
    main(Path(sys.argv[1]))
