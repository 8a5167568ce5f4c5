"""The recurrence of RWKV-7, a generalised delta rule, computed in chunks (Peng et al., 2025).

For every head, with a state S of (N, N), values × keys, which is zero or given at the start:

    S[t] = S[t − 1] · (diag(exp(log_w[t])) − q[t] ⊗ (rate[t] ∘ q[t])) + v[t] ⊗ k[t]
    y[t] = S[t] · r[t]

So the channels of the state decay, a part of its content under the direction q is removed, and v is written under k.
The removed content, u[t] = −S[t − 1] · q[t], depends on all previous tokens. Within a chunk it is the solution of a
triangular system (the WY form: Bischof and Van Loan, 1987; Yang et al., 2024, for the delta rule). All else is masked
products like attention's. Only the state passes from chunk to chunk.

Dimensions here: B batch, T tokens, H heads, N channels of a head, Z chunks, L tokens of a chunk (R: as rows).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from llm_core.model.chunks import chunk_documents, padded, running_sums


class Inputs(NamedTuple):
    """The inputs of the recurrence, (B, T, H, N) each in fp32.

    ``log_w``: logarithms of the decay, from −exp(−0.5) to 0, so that fp32 can represent each decay within a chunk of
    64. ``q``: directions of length 1. ``rate``: from 0 to 1.
    """

    r_BTHN: Tensor  # noqa: N815
    log_w_BTHN: Tensor  # noqa: N815
    k_BTHN: Tensor  # noqa: N815
    v_BTHN: Tensor  # noqa: N815
    q_BTHN: Tensor  # noqa: N815
    rate_BTHN: Tensor  # noqa: N815


def chunked_recurrence(
    inputs: Inputs, *, chunk: int, document_ids_BT: Tensor | None = None, state_BHNN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence above for all tokens: y (B, T, H, N) and the last state (B, H, N, N), fp32.

    The state becomes zero where ``document_ids_BT`` changes along a row. A given state belongs to the first token's
    document. ``chunk``: L, which changes only the rounding. Differentiable in all tensors but the ids. It must be
    called without autocast.
    """
    batch, T, H, N = inputs.r_BTHN.shape
    L = min(chunk, T)
    Z = -(-T // L)
    # In the padding nothing decays, and nothing is removed or written.
    r_BZHLN, log_w_BZHLN, k_BZHLN, v_BZHLN, q_BZHLN, rate_BZHLN = (
        padded(x_BTHN, Z * L).view(batch, Z, L, H, N).transpose(2, 3) for x_BTHN in inputs
    )
    number_BZL, carried_BZ1 = chunk_documents(document_ids_BT, batch, Z, L, r_BZHLN.device)
    # Logarithms of the decay from the beginning of the chunk, or of the token's document in it, to each token.
    sums_BZHLN = running_sums(log_w_BZHLN.mT, number_BZL[:, :, None, None]).mT
    remove_BZHLN = -q_BZHLN * (sums_BZHLN - log_w_BZHLN).exp()
    read_BZHLN = r_BZHLN * sums_BZHLN.exp()
    removed_BZHLN, grown_BZHLN = rate_BZHLN * q_BZHLN, (-sums_BZHLN).exp()

    scores_BZHRL = _scores(remove_BZHLN, read_BZHLN, removed_BZHLN * grown_BZHLN, k_BZHLN * grown_BZHLN, number_BZL)
    of_remove_BZHRL, of_read_BZHRL = scores_BZHRL.split(L, dim=-2)
    # Only tokens of the document that the chunk begins in see its initial state.
    sees_state_BZ1L1 = (number_BZL == carried_BZ1)[:, :, None, :, None]
    right_BZHLN = torch.cat((remove_BZHLN * sees_state_BZ1L1, of_remove_BZHRL[..., L:] @ v_BZHLN), dim=-1)
    solved_BZHLN = torch.linalg.solve_triangular(
        -of_remove_BZHRL[..., :L], right_BZHLN, upper=False, unitriangular=True
    )
    from_state_BZHLN, own_BZHLN = solved_BZHLN.split(N, dim=-1)

    kept_BZHLN = _kept(sums_BZHLN, number_BZL)
    lasting_BZHN = sums_BZHLN[..., -1, :].exp() * (number_BZL[..., -1:] == carried_BZ1)[..., None]
    written_BZHNN = v_BZHLN.mT @ (k_BZHLN * kept_BZHLN)
    before_BZHNN, u_BZHLN, last_BHNN = _states(
        from_state_BZHLN, own_BZHLN, removed_BZHLN * kept_BZHLN, written_BZHNN, lasting_BZHN, state_BHNN
    )
    y_BZHLN = (read_BZHLN * sees_state_BZ1L1) @ before_BZHNN.mT + of_read_BZHRL @ torch.cat((u_BZHLN, v_BZHLN), dim=-2)
    return y_BZHLN.transpose(2, 3).flatten(1, 2)[:, :T], last_BHNN


def recurrent_step(inputs: Inputs, state_BHNN: Tensor) -> tuple[Tensor, Tensor]:
    """The recurrence for one more token, T = 1: y (B, 1, H, N) and the new state."""
    r_BHN, log_w_BHN, k_BHN, v_BHN, q_BHN, rate_BHN = (x_BTHN[:, 0] for x_BTHN in inputs)
    u_BHN1 = -(state_BHNN @ q_BHN[..., None])
    decayed_BHNN = state_BHNN * log_w_BHN.exp()[:, :, None]
    state_BHNN = decayed_BHNN + u_BHN1 * (rate_BHN * q_BHN)[:, :, None] + v_BHN[..., None] * k_BHN[:, :, None]
    return (state_BHNN @ r_BHN[..., None])[:, None, :, :, 0], state_BHNN


def _scores(
    remove_BZHLN: Tensor, read_BZHLN: Tensor, removed_BZHLN: Tensor, k_BZHLN: Tensor, number_BZL: Tensor
) -> Tensor:
    """(B, Z, H, 2L, 2L): weights between tokens of the same chunk and document.

    Rows: each token as it removes (before it writes), then as it reads (after it has written). Columns: the tokens'
    removals, then what they wrote under k.
    """
    same_BZRL = number_BZL[..., :, None] == number_BZL[..., None, :]
    visible_BZRL = torch.cat((same_BZRL.tril(-1), same_BZRL.tril()), dim=-2)
    visible_BZRL = torch.cat((visible_BZRL, visible_BZRL), dim=-1)
    scores_BZHRL = torch.cat((remove_BZHLN, read_BZHLN), dim=-2) @ torch.cat((removed_BZHLN, k_BZHLN), dim=-2).mT
    return scores_BZHRL.masked_fill(~visible_BZRL[:, :, None], 0)


def _kept(sums_BZHLN: Tensor, number_BZL: Tensor) -> Tensor:
    """The share of each token's writing that remains at the end of the chunk; 0 if its document has ended."""
    ended_BZL = number_BZL != number_BZL[..., -1:]
    logs_BZHLN = sums_BZHLN[..., -1:, :] - sums_BZHLN
    # Masked before exp: between documents, differences may be positive.
    return logs_BZHLN.masked_fill(ended_BZL[:, :, None, :, None], float("-inf")).exp()


def _states(
    from_state_BZHLN: Tensor,
    own_BZHLN: Tensor,
    removed_BZHLN: Tensor,
    written_BZHNN: Tensor,
    lasting_BZHN: Tensor,
    state_BHNN: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The initial state of each chunk, (B, Z, H, N, N), u (B, Z, H, L, N), and the last state.

    ``lasting_BZHN``: the share of the initial state that remains after a chunk; 0 if a document ends in or before it.
    """
    if state_BHNN is None:
        state_BHNN = torch.zeros_like(written_BZHNN[:, 0])
    before, taken = [], []
    for z in range(written_BZHNN.shape[1]):
        before.append(state_BHNN)
        u_BHLN = own_BZHLN[:, z] + from_state_BZHLN[:, z] @ state_BHNN.mT
        taken.append(u_BHLN)
        state_BHNN = state_BHNN * lasting_BZHN[:, z, :, None] + written_BZHNN[:, z] + u_BHLN.mT @ removed_BZHLN[:, z]
    return torch.stack(before, dim=1), torch.stack(taken, dim=1), state_BHNN
