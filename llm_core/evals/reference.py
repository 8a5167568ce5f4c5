"""The stage ``preference_reference``: how likely both answers of each pair are for the model before the tuning.

They are computed once. The artifact has the files of the shards, and ``<split>/reference.npy`` for each split
(``llm_core.tokens.reference``), so the trainer reads it as shards.
"""

import json
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from llm_core.data.split import SPLITS
from llm_core.evals.preference_results import PreferenceReference
from llm_core.evals.run import as_trained, device_of
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.model.files import check_model, load_model
from llm_core.store.digests import file_digest
from llm_core.store.parts import link_or_copy
from llm_core.tokens.pairs import PairRows
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.reference import FILE, filled
from llm_core.train.precision import autocast

INDEX = "shards.json"


def build(job: Job, model: ModelSpec, sequence_length: int, precision: str) -> PreferenceReference:
    """Write the shards with the likelihoods of all answers. ``precision``: that of the training (``as_trained``)."""
    shards = job.path("shards")
    for path in sorted(shards.rglob("*")):
        place = job.out / path.relative_to(shards)
        if path.is_file() and path.name not in (INDEX, "manifest.json"):
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(path, place)
    index = json.loads((shards / INDEX).read_bytes())
    index["reference"] = {}
    scorer = AnswerScorer(job, model, precision)
    found = {}
    for split in SPLITS:
        found[split] = scorer.nats(ShardReader(shards, split), sequence_length)
        np.save(job.out / split / FILE, found[split])
        index["reference"][split] = file_digest(job.out / split / FILE)
    (job.out / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return PreferenceReference(
        pairs={split: len(nats) // 2 for split, nats in found.items()},
        prefers_chosen={split: float((nats[::2] < nats[1::2]).mean()) for split, nats in found.items()},
        not_finite=sum(int((~np.isfinite(nats)).sum()) for nats in found.values()),
    )


class AnswerScorer:
    """The model of the input ``model``, on the device of evaluations."""

    def __init__(self, job: Job, model: ModelSpec, precision: str) -> None:
        folder, compute = job.path("model"), job.runtime.compute
        check_model(folder, model)
        device = device_of(compute.device_type)
        self._precision, backend = as_trained(precision, compute.attention_backend, device)
        self._model, _ = load_model(folder, device)
        self._model.attention_backend = backend
        self._rows, self._advance = compute.micro_batch, job.runtime.progress

    def nats(self, reader: ShardReader, length: int) -> np.ndarray:
        """The nats of the answer of every document; fp64."""
        return answer_nats(self._model, reader, length, self._rows, self._precision, self._advance)


@torch.inference_mode()
def answer_nats(
    model: nn.Module,
    reader: ShardReader,
    length: int,
    rows: int,
    precision: str,
    advance: Callable[[float, float, str], None] = lambda *_: None,
) -> np.ndarray:
    """The nats of the targets of every document, (documents,) fp64. ``rows``: of ``length`` tokens, read at once.

    Documents are packed as in training, and equal numbers of rows are read at once, so a likelihood before the tuning
    differs from one in its first step by little.
    """
    pairs, device = PairRows(reader, length), next(model.parameters()).device
    nats = np.full(reader.documents, math.nan)
    model.eval()
    for first in range(0, pairs.rows, rows):
        chosen = np.arange(first, min(first + rows, pairs.rows))
        batch = [torch.from_numpy(part).to(device) for part in pairs.batch(chosen)]
        with autocast(precision, device):
            nats_BT = model(*batch, each=True).cross_entropy
        there_BD = filled(pairs.pieces(chosen))
        nats_BD = np.zeros(there_BD.shape)
        for row, (values_T, ids_T) in enumerate(
            zip(nats_BT.double().cpu().numpy(), batch[2].cpu().numpy(), strict=True)
        ):
            nats_BD[row] = np.bincount(ids_T[ids_T >= 0], values_T[ids_T >= 0], minlength=there_BD.shape[1])
        nats[pairs.documents(chosen)] = nats_BD[there_BD]
        advance(len(chosen) + first, pairs.rows, "rows")
    return nats
