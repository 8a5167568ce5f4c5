"""The chunked scan against the recurrence itself, token by token in float64."""

import pytest
import torch
from torch import Tensor

from llm_core.model.scan import Inputs, chunked_scan, recurrent_step

BATCH, HEADS, WIDTH, GROUPS, STATE = 2, 4, 3, 2, 5


def inputs(length: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "x_BTHP": drawn(BATCH, length, HEADS, WIDTH),
        "dt_BTH": drawn(BATCH, length, HEADS).exp() * 0.2,
        "A_H": -drawn(HEADS).exp(),
        "B_BTGN": drawn(BATCH, length, GROUPS, STATE),
        "C_BTGN": drawn(BATCH, length, GROUPS, STATE),
        "D_H": drawn(HEADS),
    }


def given_state() -> Tensor:
    return torch.randn((BATCH, HEADS, WIDTH, STATE), generator=torch.Generator().manual_seed(9))


def naive(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    A_H: Tensor,
    B_BTGN: Tensor,
    C_BTGN: Tensor,
    D_H: Tensor,
    documents_BT: Tensor | None = None,
    state_BHPN: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition: one row, one head and one token after the other."""
    rows, last = [], []
    for b in range(x_BTHP.shape[0]):
        heads, states = [], []
        for h in range(x_BTHP.shape[2]):
            g = h // (x_BTHP.shape[2] // B_BTGN.shape[2])
            state_PN = torch.zeros(WIDTH, STATE).double() if state_BHPN is None else state_BHPN[b, h].double()
            outputs = []
            for t in range(x_BTHP.shape[1]):
                x_P, dt, decay = x_BTHP[b, t, h].double(), dt_BTH[b, t, h].double(), A_H[h].double()
                if documents_BT is not None and t > 0 and documents_BT[b, t] != documents_BT[b, t - 1]:
                    state_PN = torch.zeros(WIDTH, STATE).double()
                state_PN = (dt * decay).exp() * state_PN + dt * torch.outer(x_P, B_BTGN[b, t, g].double())
                outputs.append(state_PN @ C_BTGN[b, t, g].double() + D_H[h].double() * x_P)
            heads.append(torch.stack(outputs))
            states.append(state_PN)
        rows.append(torch.stack(heads, dim=1))
        last.append(torch.stack(states))
    return torch.stack(rows), torch.stack(last)


def documents(length: int) -> Tensor:
    """Two rows: borders at the edges of chunks of 4 and within them, a document of one token, padding at the end."""
    return torch.tensor([[0] * 4 + [1] * 3 + [2] + [3] * 6, [0] * 2 + [1] * 9 + [-1] * 3])[:, :length]


@pytest.mark.parametrize("length", [1, 3, 4, 12, 14])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("continues", [False, True])
def test_matches_the_recurrence(length: int, separate: bool, continues: bool) -> None:
    given = inputs(length)
    ids, state = documents(length) if separate else None, given_state() if continues else None
    y, last = chunked_scan(Inputs(**given), chunk=4, document_ids_BT=ids, state_BHPN=state)
    expected_y, expected_last = naive(**given, documents_BT=ids, state_BHPN=state)
    torch.testing.assert_close(y.double(), expected_y, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(last.double(), expected_last, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("separate", [False, True])
def test_gradients_match_those_of_the_recurrence(separate: bool) -> None:
    ids = documents(11) if separate else None
    gradients = []
    for scan in (chunked_scan, naive):
        given = {name: tensor.requires_grad_() for name, tensor in inputs(11).items()}
        state = given_state().requires_grad_()
        if scan is naive:
            y, last = naive(**given, documents_BT=ids, state_BHPN=state)
        else:
            y, last = chunked_scan(Inputs(**given), chunk=4, document_ids_BT=ids, state_BHPN=state)
        weights_y, weights_last = inputs(11, seed=1)["x_BTHP"], given_state().flip(0)
        ((y * weights_y).sum() + (last * weights_last).sum()).backward()
        gradients.append({name: tensor.grad for name, tensor in {**given, "state": state}.items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("border", range(1, 12))
def test_nothing_crosses_a_border(border: int) -> None:
    """Not by a bit, wherever the border falls, and though what is before it is huge."""
    ids = torch.zeros(BATCH, 12, dtype=torch.long)
    ids[:, border:] = 1
    given, other = inputs(12), inputs(12, seed=1)
    for name in ("x_BTHP", "dt_BTH", "B_BTGN", "C_BTGN"):
        other[name] = torch.cat((1e3 * other[name][:, :border], given[name][:, border:]), dim=1)
    other["A_H"], other["D_H"] = given["A_H"], given["D_H"]
    y, last = chunked_scan(Inputs(**given), chunk=4, document_ids_BT=ids, state_BHPN=given_state())
    other_y, other_last = chunked_scan(Inputs(**other), chunk=4, document_ids_BT=ids, state_BHPN=None)
    assert torch.equal(y[:, border:], other_y[:, border:])
    assert torch.equal(last, other_last)


def test_gradients_stay_in_the_document_and_in_the_past() -> None:
    given = {name: tensor.requires_grad_() for name, tensor in inputs(12).items()}
    ids = torch.tensor([[0] * 5 + [1] * 7, [0] * 4 + [1] * 8])
    y, _ = chunked_scan(Inputs(**given), chunk=4, document_ids_BT=ids)
    y[:, 9].square().sum().backward()
    for name in ("x_BTHP", "dt_BTH", "B_BTGN"):
        size = given[name].grad.abs().flatten(2).sum(-1)
        assert (size[0, :5] == 0).all()
        assert (size[0, 5:10] > 0).all()
        assert (size[1, 4:10] > 0).all()
        assert (size[:, 10:] == 0).all()


def test_decays_beyond_the_range_of_exp_are_no_nan() -> None:
    given = inputs(12)
    given["A_H"], given["dt_BTH"] = torch.full((HEADS,), -300.0), given["dt_BTH"] + 5
    given = {name: tensor.requires_grad_() for name, tensor in given.items()}
    y, last = chunked_scan(Inputs(**given), chunk=4, document_ids_BT=documents(12), state_BHPN=given_state())
    (y.sum() + last.sum()).backward()
    torch.testing.assert_close(y.double(), naive(**given, documents_BT=documents(12))[0], atol=1e-4, rtol=1e-4)
    assert all(tensor.grad.isfinite().all() for tensor in given.values())


def test_chunks_change_the_rounding_only() -> None:
    given = inputs(30)
    whole, _ = chunked_scan(Inputs(**given), chunk=64)
    for chunk in (1, 7, 30):
        torch.testing.assert_close(chunked_scan(Inputs(**given), chunk=chunk)[0], whole, atol=1e-4, rtol=1e-4)


def test_pieces_and_single_tokens_go_on_from_the_state() -> None:
    given = inputs(13)
    whole, last = chunked_scan(Inputs(**given), chunk=4)
    parts, state = [], None
    for start, end in ((0, 6), (6, 7), (7, 10)):
        piece = {name: tensor if tensor.ndim == 1 else tensor[:, start:end] for name, tensor in given.items()}
        y, state = chunked_scan(Inputs(**piece), chunk=4, state_BHPN=state)
        parts.append(y)
    for t in range(10, 13):
        at = {name: tensor if tensor.ndim == 1 else tensor[:, t : t + 1] for name, tensor in given.items()}
        y, state = recurrent_step(Inputs(**at), state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(state, last, atol=1e-5, rtol=1e-4)


def test_autocast_rounds_nothing() -> None:
    given = inputs(12)
    plain = chunked_scan(Inputs(**given), chunk=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = chunked_scan(Inputs(**given), chunk=4)
    assert torch.equal(plain[0], cast[0])
    assert torch.equal(plain[1], cast[1])


def test_bf16_rounds_products_and_keeps_the_state() -> None:
    given = inputs(40)
    expected, expected_last = naive(**given)
    for name in ("x_BTHP", "B_BTGN", "C_BTGN"):
        given[name] = given[name].bfloat16()
    y, last = chunked_scan(Inputs(**given), chunk=8)
    assert y.dtype == torch.bfloat16
    assert last.dtype == torch.float32
    assert (y.double() - expected).norm() < 0.01 * expected.norm()
    assert (last.double() - expected_last).norm() < 0.01 * expected_last.norm()
