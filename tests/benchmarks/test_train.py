import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_table_of_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import train

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
    from train_peers import Batch, ours, transformers

    from llm_core.experiment.model import ModelSpec

    shape = {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48}
    ids = torch.randint(0, 64, (2, 17), generator=torch.Generator().manual_seed(0))
    documents = torch.tensor([[0] * 5 + [1] * 11, [0] * 16])
    batch = Batch(ids[:, :-1], ids[:, 1:].contiguous(), documents)
    for masked in (False, True):
        for tied in (False, True):
            spec = ModelSpec(**shape, qk_norm=masked, document_mask=masked, tie_embeddings=tied, init_std=0.2)
            first = ours(spec, 64, torch.device("cpu"), compiled=False)
            second = transformers(spec, 64, first.model.state_dict(), compiled=False)
            torch.testing.assert_close(first.loss(batch), second.loss(batch), atol=1e-5, rtol=1e-5)


def test_the_rows_for_cuda_at_toy_size() -> None:
    from train_cuda import ROWS, measure, settings

    full, toy = settings(toy=False), settings(toy=True)
    assert full.keys() == ROWS.keys()
    chosen = [name for name in toy if "tokens" not in name]
    found = {name: measure(toy[name], torch.device("cpu"), 1, toy=True) for name in chosen}
    assert len(found) > 8
    base = found["llama3_1b"]["loss"]
    for name in ("recompute all", "recompute selectively", "recompute every second block"):
        assert found[name]["loss"] == base
    for name in ("all logits at once", "transformers, eager"):
        assert found[name]["loss"] == pytest.approx(base, abs=0.02)


def test_what_no_toy_can_run_is_refused_by_name() -> None:
    from train_cuda import BASE, TOY, TOY_SHAPE, measure

    setting = {**BASE, **TOY, "model": TOY_SHAPE, "compiled": False, "precision": "fp8"}
    with pytest.raises(Exception, match="fp8"):
        measure(setting, torch.device("cpu"), 1, toy=True)
