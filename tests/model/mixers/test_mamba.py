import torch
from torch import Tensor

from llm_core.model.init import initialise
from llm_core.model.mixers.mamba.scan import Inputs, selective_scan
from tests.model import shapes

ROWS, LENGTH, CHANNELS, STATE = 2, 11, 3, 4
DOCUMENTS = torch.tensor([[0] * 4 + [1] * 7, [2] * 1 + [3] * 8 + [2] * 2])


def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    found = Inputs(
        draw(ROWS, LENGTH, CHANNELS),
        draw(ROWS, LENGTH, CHANNELS).exp(),
        -draw(CHANNELS, STATE).exp(),
        draw(ROWS, LENGTH, STATE),
        draw(ROWS, LENGTH, STATE),
        draw(CHANNELS),
    )
    return Inputs(*(tensor.requires_grad_() for tensor in found))


def token_by_token(given: Inputs, before_BIN: Tensor, documents_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """The recurrence as it is written."""
    h_BIN, outputs = before_BIN, []
    for t in range(LENGTH):
        dt_BI1 = given.dt_BTI[:, t, :, None]
        decay_BIN = (dt_BI1 * given.A_IN).exp()
        if documents_BT is not None and t:
            decay_BIN = decay_BIN * (documents_BT[:, t] == documents_BT[:, t - 1])[:, None, None]
        h_BIN = decay_BIN * h_BIN + dt_BI1 * given.x_BTI[:, t, :, None] * given.B_BTN[:, t, None]
        outputs.append((h_BIN * given.C_BTN[:, t, None]).sum(-1) + given.D_I * given.x_BTI[:, t])
    return torch.stack(outputs, dim=1), h_BIN


def test_results_and_gradients_are_those_of_the_recurrence() -> None:
    before_BIN = torch.randn(ROWS, CHANNELS, STATE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights_BTI = torch.randn(ROWS, LENGTH, CHANNELS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for documents_BT in (None, DOCUMENTS):
        wanted = inputs()
        y_BTI, last_BIN = token_by_token(wanted, before_BIN, documents_BT)
        (y_BTI * weights_BTI).sum().backward()
        for chunk in (1, 4, 11, 32):
            found = inputs()
            z_BTI, state_BIN = selective_scan(found, before_BIN, chunk=chunk, document_ids_BT=documents_BT)
            torch.testing.assert_close((z_BTI, state_BIN), (y_BTI, last_BIN))
            (z_BTI * weights_BTI).sum().backward()
            for name, tensor, other in zip(Inputs._fields, found, wanted, strict=True):
                torch.testing.assert_close(tensor.grad, other.grad, msg=name)


def test_channels_begin_with_decays_of_all_speeds() -> None:
    model = shapes.model(shapes.named("mamba"))
    initialise(model, model.spec, torch.Generator().manual_seed(0))
    mixer = model.blocks[0].mixer
    assert mixer.A_log.exp()[5].tolist() == torch.arange(1.0, 7.0).log().exp().tolist()
    steps = torch.nn.functional.softplus(mixer.dt_bias)
    assert 0.001 <= steps.min() < 0.01 < steps.max() <= 0.1
