import math

import pytest
import torch

from llm_core.experiment.training import MixtureSpec
from llm_core.model.build import build_model
from llm_core.model.decoder import Losses
from llm_core.registries import PACKINGS
from llm_core.tokens.loader import open_loader
from llm_core.train.batch_provenance import describe_pieces, documents_of, sequence_losses, why_command
from tests.train.runs import ALONE, model_spec, trainer_spec


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_sequence_with_nan_is_the_worst_and_the_others_go_by_their_loss(tmp_path, packing):
    spec = trainer_spec(tmp_path, training={"packing": packing})
    loader = open_loader(spec.shards, spec.training, 0)
    batch = [torch.from_numpy(part) for part in loader.batch(3)]
    torch.manual_seed(0)
    model = build_model(model_spec(document_mask=True), spec.vocab_size)
    expected = []
    for row in range(8):
        part = [tensor[row : row + 1] for tensor in batch]
        expected.append(float(model(*part).cross_entropy) / int((part[1] >= 0).sum()))

    def spoil(_, inputs, losses):
        return Losses(*(loss * math.nan for loss in losses)) if torch.equal(inputs[0][0], batch[0][5]) else losses

    model.register_forward_hook(spoil)
    (worst, loss), *others = sequence_losses(model, loader, 3, "fp32", ALONE)
    assert worst == 5
    assert math.isnan(loss)
    assert [number for number, _ in others] == sorted({*range(8)} - {5}, key=lambda n: -expected[n])
    assert [loss for _, loss in others] == pytest.approx([expected[n] for n, _ in others], rel=1e-5)
    assert model.training


def test_documents_are_counted_within_their_source(tmp_path):
    spec = trainer_spec(tmp_path, training={"mixture": MixtureSpec(weights={"a": 1.0, "b": 1.0})})
    loader = open_loader(spec.shards, spec.training, 0)
    pieces = loader.pieces(0)
    found = documents_of(loader, 0, [6, 2])
    assert [piece["sequence"] for piece in found] == [6, 2]
    for piece in found:
        (true,) = (other for other in pieces if other.sequence == piece["sequence"])
        reader = loader.readers[true.source]
        assert (piece["source"], piece["start"], piece["tokens"]) == (reader.name, true.start, true.length)
        first, last = piece["documents"]
        assert 0 <= first <= last < reader.documents
        assert reader.offsets[first] <= true.start < reader.offsets[first + 1]
        assert reader.offsets[last] < true.start + true.length <= reader.offsets[last + 1]
    assert describe_pieces(found[:1]).startswith(f"sequence 6: {found[0]['source']}, tokens {found[0]['start']} to ")


def test_a_run_is_asked_about_by_its_identity_since_its_name_is_that_of_runs_of_other_experiments(tmp_path):
    spec = trainer_spec(tmp_path, name="pretrained_model", identity="0123456789abcdef" * 2)
    assert why_command(spec, 7) == "; `pedigree why 0123456789ab 7` names its documents"
    assert why_command(trainer_spec(tmp_path), 7) == ""
