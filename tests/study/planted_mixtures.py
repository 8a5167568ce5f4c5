"""Runs of mixtures whose losses follow a law that the tests know, as a stage reads them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.experiment.mixtures import MixturesSpec
from llm_core.experiment.study import StudySpec
from llm_core.graph.job import Job
from llm_core.science.mixture_law import MixtureLaw
from llm_core.study import mixture_law
from llm_core.study.ladder import Ladder, ladder
from llm_core.study.results import MixtureStudy
from llm_core.train.validation_windows import WINDOWS
from tests.study.planted import MODEL, STUDY, TRAINING, VOCABULARY, artifact

SOURCES = ("web", "books", "code")
LAW = MixtureLaw(
    np.array([0.7, 0.8, 0.5]), np.array([[-1.5, -0.4, 0.1], [-0.2, -1.6, 0.2], [-0.1, 0.1, -2.0]])
)  # the best mixture lies inside
SIZES = (3000, 2000, 1000)
"""Held-out bytes of each source."""
TARGET = np.array(SIZES) / sum(SIZES)


def planned(**fields: Any) -> tuple[MixturesSpec, Ladder]:
    plain = {"sources": SOURCES, "width": 256, "runs": 20, "least_parameters": 1000, **fields}
    spec = MixturesSpec.model_validate_json(json.dumps(plain))
    study = STUDY.model_dump(mode="json")
    whole = StudySpec.model_validate_json(json.dumps({**study, "mixtures": spec.model_dump(mode="json")}))
    return spec, ladder(whole, MODEL, TRAINING, VOCABULARY, 7)


def searched(
    folder: Path,
    noise: float = 0.001,
    *,
    law: MixtureLaw = LAW,
    launched: dict[str, float] | None = None,
    lost: int = 0,
    train: tuple[int, ...] = (2 * 10**9,) * 3,
    **fields: Any,
) -> MixtureStudy:
    """The results of the stage. ``noise`` between seeds, as a share of the loss; the first ``lost`` runs diverged."""
    mixtures, runs = planned(**fields)
    rng = np.random.default_rng(4)
    made = {}
    for number, run in enumerate(runs.of("mixtures")):
        path = folder / str(number)
        path.mkdir(parents=True)
        weights = np.array([share for _, share in run.weights])
        losses = law.losses(weights[None])[0] * math.exp(rng.normal(0, noise))
        starts = np.cumsum([0, *SIZES])
        windows = [
            {"start_token": int(start), "tokens": size, "text_nats": loss * size * math.log(2), "bytes": size}
            for start, size, loss in zip(starts, SIZES, losses, strict=False)
        ]
        (path / WINDOWS).write_text("".join(json.dumps(window) + "\n" for window in windows))
        mean = None if number < lost else float(losses @ TARGET)
        made[run.role] = artifact({"final_validation_bits_per_byte": mean, "validation_tokens": 1024}, path=path)
    splits = {
        split: {"shards": [{"source": name, "tokens": size} for name, size in zip(SOURCES, sizes, strict=True)]}
        for split, sizes in (("heldout", SIZES), ("train", train))
    }
    (folder / "shards.json").write_text(json.dumps({"splits": splits}))
    made["token_shards"] = artifact({}, path=folder)
    job = Job("mixture_law", "identity", made, folder, folder)
    config = {"mixtures": mixtures, "seed": 7, "tokens": TRAINING.tokens, "launched": launched}
    return mixture_law.build(job, runs.of("mixtures"), **config)
