import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import TrackingSpec
from llm_core.model.files import load_model
from llm_core.tokens.reader import ShardReader
from llm_core.train.callbacks.spec import SAMPLES, Samples
from tests.train.runs import model_spec, records, run, trainer_spec
from tests.train.test_loop import StopAfter

SOME = Samples(every=4, documents=3, prompt_tokens=5, new_tokens=7)


def lines(spec):
    return [json.loads(line) for line in (spec.work / SAMPLES).read_text().splitlines()]


def test_samples_are_what_the_model_takes_for_likeliest_after_heads_of_held_out_documents(tmp_path):
    spec = trainer_spec(
        tmp_path, 10, model=model_spec(document_mask=True), tracking=TrackingSpec(callbacks={"samples": SOME})
    )
    run(spec, StopAfter(6))
    run(spec)
    assert [line["step"] for line in lines(spec)] == [4, 8, 10]
    model, _ = load_model(spec.work / "final")
    reader = ShardReader(spec.shards, "heldout")
    heads = {tuple(reader.spans(np.array([start - 1]), np.array([5])).tolist()) for start in reader.offsets[:-1]}
    found = lines(spec)[-1]["samples"]
    assert len(found) == 3
    for sample in found:
        assert tuple(sample["prompt"]) in heads
        tokens = list(sample["prompt"])
        for token in sample["continuation"]:
            ids_BT = torch.zeros(1, len(tokens), dtype=torch.int32)
            assert token == int(model(torch.tensor([tokens]), document_ids_BT=ids_BT)[0, -1].argmax())
            tokens.append(token)
        assert len(sample["continuation"]) == 7


def test_with_a_tokenizer_samples_are_text(tmp_path):
    path = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({f"w{number}": number for number in range(300)}, unk_token="w0")).save(str(path))
    spec = trainer_spec(tmp_path, 4, tracking=TrackingSpec(callbacks={"samples": SOME}), tokenizer=path)
    run(spec)
    (sample, *_) = lines(spec)[0]["samples"]
    assert sample["text"] == " ".join(f"w{number}" for number in sample["prompt"] + sample["continuation"])


def test_looking_at_a_run_changes_nothing(tmp_path):
    plain = trainer_spec(tmp_path, work=tmp_path / "plain")
    watched = trainer_spec(tmp_path, work=tmp_path / "watched", tracking=TrackingSpec(callbacks={"samples": SOME}))
    run(plain)
    run(watched)
    assert [line["loss"] for line in records(watched)] == [line["loss"] for line in records(plain)]


def test_prompts_longer_than_all_held_out_text_are_refused_before_a_step(tmp_path):
    spec = trainer_spec(tmp_path, 4, tracking=TrackingSpec(callbacks={"samples": {"every": 2, "prompt_tokens": 2001}}))
    with pytest.raises(PedigreeError, match=r"prompt_tokens 2001: the held-out split of .* has 2000 tokens"):
        run(spec)
    assert records(spec) == []
