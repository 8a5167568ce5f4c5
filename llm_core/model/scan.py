"""The scan of Mamba-2: a linear recurrence, computed in chunks. Its state decays by one scalar per head.

Dao and Gu (2024), "Transformers are SSMs". For every head, with a state S of (P, N), zero or given at the start:

    S[t] = exp(dt[t] · A) · S[t − 1] + dt[t] · x[t] ⊗ B[t]
    y[t] = S[t] · C[t] + D · x[t]

Within a chunk this is a masked product like attention's, (C · Bᵀ ∘ decay) · x. Only the state passes from chunk to
chunk. So the work grows linearly with T, and most of it is matrix products.

Dimensions here: B batch, T tokens, H heads, P channels of a head, G groups of heads that share B and C, N channels of
the state, Z chunks, L tokens of a chunk (R: as rows), E channels of all heads of a group (H/G · P).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.model.chunks import chunk_documents, padded, running_sums


class Inputs(NamedTuple):
    """The inputs of the scan. ``dt_BTH``: steps, not negative. ``A_H``: negative."""

    x_BTHP: Tensor  # noqa: N815
    dt_BTH: Tensor  # noqa: N815
    A_H: Tensor
    B_BTGN: Tensor
    C_BTGN: Tensor
    D_H: Tensor


def scan(
    inputs: Inputs, *, chunk: int, document_ids_BT: Tensor | None = None, state_BHPN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``chunked_scan``, or for one token after a given state ``recurrent_step``, which is faster."""
    if state_BHPN is not None and inputs.x_BTHP.shape[1] == 1:
        return recurrent_step(inputs, state_BHPN)
    return chunked_scan(inputs, chunk=chunk, document_ids_BT=document_ids_BT, state_BHPN=state_BHPN)


def chunked_scan(
    inputs: Inputs, *, chunk: int, document_ids_BT: Tensor | None = None, state_BHPN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence above for all tokens: y (B, T, H, P) in the type of x, and the last state (B, H, P, N) in fp32.

    The state becomes zero where ``document_ids_BT`` changes along a row. A given state belongs to the first token's
    document. ``chunk``: L, which changes only the rounding.

    Steps, decays and states are fp32; the operands of the large products have the type of ``x_BTHP``. Differentiable in
    all tensors but the ids.
    """
    x_BTHP, dt_BTH, A_H, B_BTGN, C_BTGN, D_H = inputs
    # Each line decides its own precision: autocast would round the states, too.
    with torch.autocast(x_BTHP.device.type, enabled=False):
        dtype, (batch, T, H, P), (G, N) = x_BTHP.dtype, x_BTHP.shape, B_BTGN.shape[2:]
        L = min(chunk, T)
        Z = -(-T // L)
        # In the padding dt is 0, which does not change the state.
        dt_BUH = padded(dt_BTH.float(), Z * L)
        u_BZLHP = (padded(x_BTHP, Z * L) * dt_BUH[..., None]).to(dtype).view(batch, Z, L, H, P)
        B_BZGLN, C_BZGLN = (
            padded(y_BTGN.to(dtype), Z * L).view(batch, Z, L, G, N).transpose(2, 3) for y_BTGN in (B_BTGN, C_BTGN)
        )
        number_BZL, carried_BZ1 = chunk_documents(document_ids_BT, batch, Z, L, x_BTHP.device)
        # Logarithms of the decay from the beginning of the chunk, or of the token's document in it, to each token.
        sums_BZHL = running_sums((dt_BUH * A_H.float()).view(batch, Z, L, H).transpose(2, 3), number_BZL[:, :, None])

        within_BZLHP = _within_chunks(u_BZLHP, B_BZGLN, C_BZGLN, sums_BZHL, number_BZL)
        added_BZGNE = _added(u_BZLHP, B_BZGLN, sums_BZHL, number_BZL)
        lasting_BZH = sums_BZHL[..., -1].exp() * (number_BZL[..., -1:] == carried_BZ1)
        before_BZGNE, last_BHPN = _states(added_BZGNE, lasting_BZH, state_BHPN)
        seen_BZLGE = (C_BZGLN @ before_BZGNE.to(dtype)).transpose(2, 3)
        reaching_BZLH = (sums_BZHL.exp() * (number_BZL == carried_BZ1)[:, :, None]).transpose(2, 3)

        y_BZLHP = within_BZLHP + seen_BZLGE.reshape(batch, Z, L, H, P) * reaching_BZLH[..., None]
        y_BTHP = y_BZLHP.flatten(1, 2)[:, :T] + x_BTHP * D_H.float()[:, None]
        return y_BTHP.to(dtype), last_BHPN


def recurrent_step(inputs: Inputs, state_BHPN: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence for one more token, T = 1: y (B, 1, H, P) in the type of x, and the new state in fp32."""
    x_BHP, dt_BH = inputs.x_BTHP[:, 0], inputs.dt_BTH[:, 0].float()
    heads = x_BHP.shape[1] // inputs.B_BTGN.shape[2]
    B_BHN, C_BHN = (y[:, 0].float().repeat_interleave(heads, dim=1) for y in (inputs.B_BTGN, inputs.C_BTGN))
    decay_BH = (dt_BH * inputs.A_H.float()).exp()
    u_BHP = x_BHP * dt_BH[..., None]
    state_BHPN = state_BHPN.float() * decay_BH[..., None, None] + u_BHP[..., None] * B_BHN[:, :, None]
    y_BHP = (state_BHPN * C_BHN[:, :, None]).sum(-1) + x_BHP * inputs.D_H.float()[:, None]
    return y_BHP[:, None].to(x_BHP.dtype), state_BHPN


def _within_chunks(u_BZLHP: Tensor, B_BZGLN: Tensor, C_BZGLN: Tensor, sums_BZHL: Tensor, number_BZL: Tensor) -> Tensor:
    """The contribution of the tokens of the same chunk and document, not later ones, (B, Z, L, H, P)."""
    visible_BZRL = (number_BZL[..., :, None] == number_BZL[..., None, :]).tril()
    logs_BZHRL = sums_BZHL[..., :, None] - sums_BZHL[..., None, :]
    # Masked before exp: the logarithms of hidden tokens may be positive and too large.
    decay_BZHRL = logs_BZHRL.masked_fill(~visible_BZRL[:, :, None], float("-inf")).exp()
    scores_BZGRL = C_BZGLN @ B_BZGLN.transpose(-1, -2)
    weights_BZHRL = (decay_BZHRL.unflatten(2, (scores_BZGRL.shape[2], -1)) * scores_BZGRL[:, :, :, None]).flatten(2, 3)
    return (weights_BZHRL.to(u_BZLHP.dtype) @ u_BZLHP.transpose(2, 3)).transpose(2, 3)


def _added(u_BZLHP: Tensor, B_BZGLN: Tensor, sums_BZHL: Tensor, number_BZL: Tensor) -> Tensor:
    """The contribution of each chunk to the state at its end, (B, Z, G, N, E) in fp32: from its last document."""
    ended_BZL = number_BZL != number_BZL[..., -1:]
    kept_BZHL = (sums_BZHL[..., -1:] - sums_BZHL).masked_fill(ended_BZL[:, :, None], float("-inf")).exp()
    v_BZLHP = u_BZLHP * kept_BZHL.transpose(2, 3).to(u_BZLHP.dtype)[..., None]
    v_BZLGE = v_BZLHP.flatten(3).unflatten(3, (B_BZGLN.shape[2], -1))
    return (B_BZGLN.transpose(-1, -2) @ v_BZLGE.transpose(2, 3)).float()


def _states(added_BZGNE: Tensor, lasting_BZH: Tensor, state_BHPN: Tensor | None) -> tuple[Tensor, Tensor]:
    """The initial state of each chunk, (B, Z, G, N, E), and the state after the last one, (B, H, P, N).

    ``lasting_BZH``: the share of the initial state that remains after a chunk; 0 if a document ends in or before it.
    """
    batch, Z, G, N, E = added_BZGNE.shape
    H = lasting_BZH.shape[2]
    lasting_BZG1E = lasting_BZH.view(batch, Z, G, 1, -1).repeat_interleave(G * E // H, dim=-1)
    if state_BHPN is None:
        state_BGNE = added_BZGNE.new_zeros(batch, G, N, E)
    else:
        state_BGNE = state_BHPN.float().reshape(batch, G, E, N).transpose(2, 3)
    before = []
    for lasting_BG1E, added_BGNE in zip(lasting_BZG1E.unbind(1), added_BZGNE.unbind(1), strict=True):
        before.append(state_BGNE)
        state_BGNE = state_BGNE * lasting_BG1E + added_BGNE
    return torch.stack(before, dim=1), state_BGNE.transpose(2, 3).reshape(batch, H, -1, N)
