import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.guards import GuardsSpec
from llm_core.experiment.training import SequencePhase
from llm_core.registries import PACKINGS
from llm_core.tokens.loader import Batch, Loader, open_loader
from llm_core.train import leak_detection, loop
from llm_core.train.fp8 import in_float8
from llm_core.train.leak_detection import find_leak, shifted_wrongly
from tests.train.runs import model_spec, records, run, trainer_spec

MASKED = model_spec(document_mask=True)


def leaky(monkeypatch, how):
    """A mask of another kind: made from other document ids, or looking ahead."""
    build = loop.build_model

    def built(*arguments, **options):
        model = build(*arguments, **options)
        model.register_forward_pre_hook(lambda _, inputs: (*inputs[:2], how(inputs[2])))
        return model

    monkeypatch.setattr(loop, "build_model", built)


def look_ahead(monkeypatch, tokens):
    """Every state takes a little of what stands ``tokens`` further on."""
    build = loop.build_model

    def built(*arguments, **options):
        model = build(*arguments, **options)
        model.embedding.register_forward_hook(lambda _, __, x_BTD: x_BTD + 0.1 * x_BTD.roll(-tokens, dims=1))
        return model

    monkeypatch.setattr(loop, "build_model", built)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_mask_that_lets_documents_see_each_other_stops_the_run_before_a_step(tmp_path, monkeypatch, precision):
    spec = trainer_spec(tmp_path, model=MASKED, training={"precision": precision})
    leaky(monkeypatch, lambda ids_BT: ids_BT * 0)
    with pytest.raises(PedigreeError, match=r"step 1, sequence \d .*position \d+ sees other documents.*its documents"):
        run(spec)
    assert records(spec) == []


def test_a_border_that_is_one_token_late_is_found(tmp_path, monkeypatch):
    leaky(monkeypatch, lambda ids_BT: torch.cat((ids_BT[:, :1], ids_BT[:, :-1]), dim=1))
    with pytest.raises(PedigreeError, match="sees other documents"):
        run(trainer_spec(tmp_path, model=MASKED))


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_looks_ahead_stops_the_run_before_a_step(tmp_path, monkeypatch, tokens, precision):
    spec = trainer_spec(tmp_path, training={"precision": precision})
    look_ahead(monkeypatch, tokens)
    with pytest.raises(PedigreeError, match=r"sees later tokens: .*no step ran"):
        run(spec)
    assert records(spec) == []


def test_a_length_that_comes_later_is_probed_when_it_comes(tmp_path, monkeypatch):
    phases = [SequencePhase(from_step=step, sequence_length=length) for step, length in ((0, 8), (3, 32))]
    spec = trainer_spec(tmp_path, model=MASKED, training={"sequence_schedule": tuple(phases)})
    leaky(monkeypatch, lambda ids_BT: ids_BT * 0 if ids_BT.shape[1] == 32 else ids_BT)
    with pytest.raises(PedigreeError, match="step 4, sequence"):
        run(spec)
    assert len(records(spec)) == 3


def test_targets_that_are_shifted_wrongly_stop_the_run(tmp_path, monkeypatch):
    batch = Loader.batch

    def unshifted(self, step, rank=0, world_size=1):
        inputs_BT, _, ids_BT = batch(self, step, rank, world_size)
        return Batch(inputs_BT, inputs_BT, ids_BT)

    monkeypatch.setattr(Loader, "batch", unshifted)
    spec = trainer_spec(tmp_path)
    with pytest.raises(PedigreeError, match=r"step 1, .*the target of position 0 is not the token that follows"):
        run(spec)


def test_the_probe_can_be_turned_off_and_changes_nothing(tmp_path, monkeypatch):
    off = trainer_spec(tmp_path, work=tmp_path / "off", training={"guards": GuardsSpec(leak_probe=False)})
    on = trainer_spec(tmp_path, work=tmp_path / "on")
    run(off)
    run(on)
    assert [line["loss"] for line in records(on)] == [line["loss"] for line in records(off)]


def test_a_leak_is_found_where_every_row_is_one_document(tmp_path):
    spec = trainer_spec(tmp_path, model=MASKED)
    model = loop.build_model(MASKED, spec.vocab_size)
    options = {"vocab_size": spec.vocab_size, "document_mask": True, "precision": "fp32", "micro_batch": 4}
    inputs_BT = torch.randint(0, 300, (4, 33))
    batch = inputs_BT[:, :-1], inputs_BT[:, 1:], torch.zeros(4, 32, dtype=torch.int32)
    assert find_leak(model, *batch, **options) is None
    model.register_forward_pre_hook(lambda _, inputs: (*inputs[:2], inputs[2] * 0))
    assert find_leak(model, *batch, **options).what == "other documents"


MOE = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 32}


def test_with_experts_a_leak_counts_where_every_change_shows_one(tmp_path, monkeypatch):
    model = model_spec(document_mask=True, feed_forward=MOE)
    assert run(trainer_spec(tmp_path, 2, model=model, work=tmp_path / "honest")).step == 2
    look_ahead(monkeypatch, 1)
    with pytest.raises(PedigreeError, match="sees later tokens"):
        run(trainer_spec(tmp_path, 2, model=model))


@pytest.mark.parametrize("leaks", [False, True])
def test_what_8_bits_round_is_no_leak(leaks):
    """Large matrices, and a token that is far larger than others: its presence moves the scale of all."""
    pytest.importorskip("torchao", reason="the extra fp8")
    torch.manual_seed(1)
    parts = {"mixer": {"qk_norm": True}, "feed_forward": {"d_ff": 352}}
    spec = model_spec(d_model=128, n_layers=8, document_mask=True, **parts)
    model = loop.build_model(spec, 300)
    model.embedding.weight.data[7] *= 30
    for matrix in (parameter.data for parameter in model.blocks.parameters() if parameter.ndim == 2):
        matrix *= 8
    in_float8(model.blocks)
    forwards = [vars(module).get("forward") for module in model.modules()]
    if leaks:
        model.register_forward_pre_hook(lambda _, inputs: (*inputs[:2], inputs[2] * 0))
    tokens_BT = torch.randint(1, 300, (4, 64))
    batch = tokens_BT, tokens_BT.roll(-1, 1), (torch.arange(64) // 16).expand(4, -1)
    found = find_leak(model, *batch, vocab_size=300, document_mask=True, precision="fp8", micro_batch=4)
    assert (found is not None) == leaks
    assert [vars(module).get("forward") for module in model.modules()] == forwards


@pytest.mark.parametrize("packing", ["concat", "pad"])
def test_weights_that_are_not_finite_are_told_as_such(tmp_path, monkeypatch, packing):
    build = loop.build_model

    def broken(*arguments, **options):
        model = build(*arguments, **options)
        torch.nn.init.constant_(model.blocks[1].mixer_norm.weight, torch.nan)
        return model

    monkeypatch.setattr(loop, "build_model", broken)
    spec = trainer_spec(tmp_path, model=MASKED, training={"packing": packing})
    with pytest.raises(
        PedigreeError, match=r"step 1, sequence \d .*: the state of position 0 is not finite: the weights"
    ):
        run(spec)
    assert records(spec) == []


@pytest.mark.parametrize("packing", PACKINGS)
def test_honest_batches_have_the_right_targets(tmp_path, packing):
    spec = trainer_spec(tmp_path, training={"packing": packing})
    loader = open_loader(spec.shards, spec.training, spec.seed)
    for step in range(10):
        assert shifted_wrongly(*(torch.from_numpy(part) for part in loader.batch(step))) is None


@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_all_micro_batches_have_one_shape_and_evaluation_leaves_no_trace(tmp_path, micro_batch):
    spec = trainer_spec(tmp_path)
    batch = [torch.from_numpy(part) for part in open_loader(spec.shards, spec.training, 0).batch(0)]
    model = loop.build_model(MASKED, spec.vocab_size)
    shapes = []
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    options = {"vocab_size": spec.vocab_size, "document_mask": True, "precision": "fp32", "micro_batch": micro_batch}
    before = torch.get_rng_state()
    assert find_leak(model, *batch, **options) is None
    assert shapes == [(micro_batch, 32)] * -(-leak_detection.ROWS // micro_batch)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.norm._forward_hooks
