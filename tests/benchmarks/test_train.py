import sys

import pytest
import torch

from benchmarks import train
from benchmarks.train_peers import Batch, ours, transformers
from llm_core.experiment.model import ModelSpec
from llm_core.model.feed_forwards.gated.spec import SwiGLU
from llm_core.model.mixers.attention.spec import Attention


def test_the_table_of_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["--toy", "--modes", "eager", "--steps", "3", "--repeats", "1", "--stretch", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["train.py", *order])
    monkeypatch.setattr(train, "LARGE", 64)
    threads = torch.get_num_threads()
    try:
        train.main()
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    losses = {(shape, who): float(loss) for shape, _, who, *_, loss in rows[2:]}
    for shape in ("tiny, plain", "tiny"):
        # The same weights and batches: the same losses, up to the rounding of bf16.
        assert losses[shape, "ours"] == pytest.approx(losses[shape, "transformers"], abs=0.01)
    assert losses["tiny, plain", "ours"] != losses["tiny", "ours"]


def test_all_models_begin_equal() -> None:
    feed_forward = SwiGLU(d_ff=48)
    ids = torch.randint(0, 64, (2, 17), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[0] * 5 + [1] * 11, [0] * 16])
    batch = Batch(ids[:, :-1], ids[:, 1:].contiguous(), documents)
    for masked in (False, True):
        for tied in (False, True):
            shape = {"d_model": 32, "n_layers": 2, "init_std": 0.2, "document_mask": masked, "tie_embeddings": tied}
            mixer = Attention(n_heads=4, n_kv_heads=2, qk_norm=masked)
            spec = ModelSpec(**shape, mixer=mixer, feed_forward=feed_forward)
            first = ours(spec, 64, torch.device("cpu"), compiled=False)
            second = transformers(spec, 64, first.model.state_dict(), compiled=False)
            torch.testing.assert_close(first.loss(batch), second.loss(batch), atol=1e-5, rtol=1e-5)
