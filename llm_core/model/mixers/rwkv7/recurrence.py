"""The recurrence of RWKV-7, a generalised delta rule, chunk by chunk (Peng et al., 2025).

For every head, with a state S of (N, N), values by keys, zero or given at the start:

    S[t] = S[t − 1] · (diag(exp(log_w[t])) − q[t] ⊗ (rate[t] ∘ q[t])) + v[t] ⊗ k[t]
    y[t] = S[t] · r[t]

so the state decays channel by channel; of what it holds under the direction q, a part is taken out; and v is written
under k. What is taken out, u[t] = −S[t − 1] · q[t], depends on all tokens before. Within a chunk it solves a triangular
system (the WY form: Bischof and Van Loan, 1987; Yang et al., 2024, for the delta rule), and all else is masked products
like attention's. From chunk to chunk only the state goes on.

Dimensions here: B batch, T tokens, H heads, N channels of a head, Z chunks, L tokens of a chunk (R: as rows).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.model.chunks import chunk_documents, padded, running_sums


class Inputs(NamedTuple):
    """What the recurrence reads, (B, T, H, N) each in fp32.

    ``log_w``: logarithms of the decay, from −exp(−0.5) to 0; so no decay within a chunk of 64 is too small for fp32.
    ``q``: directions of length 1. ``rate``: from 0 to 1.
    """

    r: Tensor
    log_w: Tensor
    k: Tensor
    v: Tensor
    q: Tensor
    rate: Tensor


def chunked_recurrence(
    inputs: Inputs, *, chunk: int, document_ids_BT: Tensor | None = None, state_BHNN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence above for all tokens: y (B, T, H, N) and the last state (B, H, N, N), fp32.

    Where ``document_ids_BT`` changes along a row, the state begins anew with zero. A given state is of the first
    token's document. ``chunk``: L, which changes the rounding only. Differentiable in all tensors but the ids. It is
    called without autocast.
    """
    batch, T, H, N = inputs.r.shape
    L = min(chunk, T)
    Z = -(-T // L)
    # In the padding nothing decays, and nothing is taken out or written.
    r, log_w, k, v, q, rate = (padded(x, Z * L).view(batch, Z, L, H, N).transpose(2, 3) for x in inputs)
    number_BZL, carried_BZ1 = chunk_documents(document_ids_BT, batch, Z, L, r.device)
    # Logarithms of the decay to each token from before the chunk, or from before its document.
    sums_BZHLN = running_sums(log_w.mT, number_BZL[:, :, None, None]).mT
    taken_BZHLN = -q * (sums_BZHLN - log_w).exp()
    read_BZHLN = r * sums_BZHLN.exp()
    erased, grown = rate * q, (-sums_BZHLN).exp()

    masked_BZHRL = _seen(taken_BZHLN, read_BZHLN, erased * grown, k * grown, number_BZL)
    by_taken, by_read = masked_BZHRL.split(L, dim=-2)
    # Of the chunk's own state they see nothing beyond its document.
    reaches_BZ1L1 = (number_BZL == carried_BZ1)[:, :, None, :, None]
    both = torch.cat((taken_BZHLN * reaches_BZ1L1, by_taken[..., L:] @ v), dim=-1)
    solved = torch.linalg.solve_triangular(-by_taken[..., :L], both, upper=False, unitriangular=True)
    from_state_BZHLN, own_BZHLN = solved.split(N, dim=-1)

    kept_BZHLN = _kept(sums_BZHLN, number_BZL)
    lasting_BZHN = sums_BZHLN[..., -1, :].exp() * (number_BZL[..., -1:] == carried_BZ1)[..., None]
    before_BZHNN, u_BZHLN, last_BHNN = _handed_on(
        from_state_BZHLN, own_BZHLN, erased * kept_BZHLN, v.mT @ (k * kept_BZHLN), lasting_BZHN, state_BHNN
    )
    y_BZHLN = (read_BZHLN * reaches_BZ1L1) @ before_BZHNN.mT + by_read @ torch.cat((u_BZHLN, v), dim=-2)
    return y_BZHLN.transpose(2, 3).flatten(1, 2)[:, :T], last_BHNN


def recurrent_step(inputs: Inputs, state_BHNN: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence for one token more, T = 1: y (B, 1, H, N) and the state after it."""
    r, log_w, k, v, q, rate = (x[:, 0] for x in inputs)
    u_BHN1 = -(state_BHNN @ q[..., None])
    state_BHNN = state_BHNN * log_w.exp()[:, :, None] + u_BHN1 * (rate * q)[:, :, None] + v[..., None] * k[:, :, None]
    return (state_BHNN @ r[..., None])[:, None, :, :, 0], state_BHNN


def _seen(taken: Tensor, read: Tensor, erased: Tensor, k: Tensor, number_BZL: Tensor) -> Tensor:
    """(B, Z, H, 2L, 2L): what each token, as it takes out (before its own writing) and as it reads (after it), sees of
    what was taken out and of what was written under k, by tokens of its chunk and document."""
    same_BZRL = number_BZL[..., :, None] == number_BZL[..., None, :]
    visible = torch.cat((same_BZRL.tril(-1), same_BZRL.tril()), dim=-2)
    scores = torch.cat((taken, read), dim=-2) @ torch.cat((erased, k), dim=-2).mT
    return scores.masked_fill(~torch.cat((visible, visible), dim=-1)[:, :, None], 0)


def _kept(sums_BZHLN: Tensor, number_BZL: Tensor) -> Tensor:
    """What is left at the chunk's end of what each token writes: nothing, where its document has ended."""
    ended_BZL = number_BZL != number_BZL[..., -1:]
    logs_BZHLN = sums_BZHLN[..., -1:, :] - sums_BZHLN
    # Masked before exp: across documents, differences may be positive.
    return logs_BZHLN.masked_fill(ended_BZL[:, :, None, :, None], float("-inf")).exp()


def _handed_on(
    from_state_BZHLN: Tensor,
    own_BZHLN: Tensor,
    erased_BZHLN: Tensor,
    added_BZHNN: Tensor,
    lasting_BZHN: Tensor,
    state_BHNN: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The states that the chunks begin with, (B, Z, H, N, N), what is taken out, (B, Z, H, L, N), and the last state.

    ``lasting_BZHN``: the share of a state that is left after a chunk; 0 where a document ends within it or before it.
    """
    if state_BHNN is None:
        state_BHNN = torch.zeros_like(added_BZHNN[:, 0])
    before, taken = [], []
    for z in range(added_BZHNN.shape[1]):
        before.append(state_BHNN)
        u_BHLN = own_BZHLN[:, z] + from_state_BZHLN[:, z] @ state_BHNN.mT
        taken.append(u_BHLN)
        state_BHNN = state_BHNN * lasting_BZHN[:, z, :, None] + added_BZHNN[:, z] + u_BHLN.mT @ erased_BZHLN[:, z]
    return torch.stack(before, dim=1), torch.stack(taken, dim=1), state_BHNN
