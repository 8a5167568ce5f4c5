"""Text from a model, one token at a time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from llm_core.model.state import new_state


@torch.inference_mode()
def generate(
    model: nn.Module,
    prompts_BT: Tensor,
    max_new_tokens: int,
    *,
    temperatures: Sequence[float],
    generators: Sequence[torch.Generator],
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Continue ``prompts_BT`` (B rows of T ≥ 1 tokens) by at most ``max_new_tokens`` tokens a row.

    Every row has its own temperature (0: always the likeliest token) and its own generator (on the CPU), so what is
    drawn for one row does not depend on the others. A row ends before its first ``stop`` token. ``top_k`` and
    ``top_p`` narrow the choice (see ``sample``). ``advance`` is called after every token. Returns the new tokens.
    """
    batch_size, length = prompts_BT.shape
    if length < 1:
        raise ValueError("a prompt has at least one token")
    if not batch_size == len(temperatures) == len(generators):
        raise ValueError(f"{batch_size} prompts, {len(temperatures)} temperatures, {len(generators)} generators")
    model.eval()
    device = next(model.parameters()).device
    state = new_state(model, batch_size, length + max_new_tokens)
    rows: list[list[int]] = [[] for _ in range(batch_size)]
    unfinished = set(range(batch_size))
    inputs_BT = prompts_BT.to(device)
    for _ in range(max_new_tokens):
        logits_BV = model(inputs_BT, state=state)[:, -1].float().cpu()
        drawn = [0] * batch_size  # A finished row goes on unseen.
        for row in sorted(unfinished):
            drawn[row] = sample(logits_BV[row], temperatures[row], generators[row], top_k, top_p)
            if drawn[row] == stop:
                unfinished.remove(row)
            else:
                rows[row].append(drawn[row])
        advance()
        if not unfinished:
            break
        inputs_BT = torch.tensor(drawn, device=device)[:, None]
    return rows


def sample(
    logits_V: Tensor, temperature: float, generator: torch.Generator, top_k: int | None, top_p: float | None
) -> int:
    """Draw one token.

    ``top_k``: among the k likeliest. ``top_p``: among the fewest likeliest whose probabilities, after temperature and
    ``top_k``, sum to p or more (nucleus sampling: Holtzman et al., 2020). Temperature 0 draws nothing: it
    is the likeliest token.
    """
    if temperature == 0:
        return int(logits_V.argmax())
    # From large to small; stable, so that equal logits keep the order of their ids everywhere.
    ordered_V, ids_V = logits_V.sort(descending=True, stable=True)
    ordered_V = ordered_V[:top_k]
    probabilities_V = torch.softmax(ordered_V / temperature, dim=-1)
    if top_p is not None:
        before_V = probabilities_V.cumsum(-1) - probabilities_V
        # The first always stays: nothing lies before it.
        probabilities_V = probabilities_V[before_V < top_p]
    return int(ids_V[torch.multinomial(probabilities_V, 1, generator=generator)])
