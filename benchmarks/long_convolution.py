"""What Hyena's long convolution costs, beside one transform over the whole row, and beside attention.

``python -m benchmarks.long_convolution``. One thread, fp32, two rows; medians of forward and backward passes.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from llm_core.model.mixers.hyena.convolution import long_convolution, numbered_runs

ROWS, CHANNELS, HEAD = 2, 256, 64
DOCUMENTS = 8
"""In a row, on average."""
LENGTHS = (512, 2048, 8192)
REPEATS = 5


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| tokens | one transform, leaking | by pairs of blocks | with documents | attention (sdpa) | largest leak |")
    print("|---|---|---|---|---|---|")
    for length in LENGTHS:
        x_BTC, taps_TC = torch.randn(ROWS, length, CHANNELS), torch.randn(length, CHANNELS) * length**-0.5
        runs_BT = numbered_runs(torch.randint(DOCUMENTS, (ROWS, length)).sort(1).values)
        whole = seconds(one_transform, x_BTC, taps_TC)
        times = [
            seconds(long_convolution, x_BTC, taps_TC),
            seconds(lambda x, taps, runs=runs_BT: long_convolution(x, taps, runs), x_BTC, taps_TC),
            seconds(attention, x_BTC, x_BTC),
        ]
        cells = [f"{1000 * whole:.0f} ms", *(f"{time / whole:.1f}" for time in times), f"{leak(x_BTC, taps_TC):.0e}"]
        print(f"| {length:,} | {' | '.join(cells)} |", flush=True)


def seconds(function: Callable[[Tensor, Tensor], Tensor], *inputs: Tensor) -> float:
    """The median of forward and backward passes."""
    found = []
    for _ in range(REPEATS + 1):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        start = time.perf_counter()
        function(*leaves).sum().backward()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def one_transform(x_BTC: Tensor, taps_TC: Tensor) -> Tensor:
    """The same sum, with zeros behind the row, so that its end does not come round to its beginning."""
    T = x_BTC.shape[1]
    seen = torch.fft.rfft(x_BTC.mT.contiguous(), n=2 * T) * torch.fft.rfft(taps_TC.mT.contiguous(), n=2 * T)
    return torch.fft.irfft(seen, n=2 * T)[..., :T].mT.contiguous()


def attention(x_BTC: Tensor, _: Tensor) -> Tensor:
    """Causal attention of as many channels; queries, keys and values are the input."""
    q_BHTC = x_BTC.unflatten(-1, (-1, HEAD)).transpose(1, 2)
    return functional.scaled_dot_product_attention(q_BHTC, q_BHTC, q_BHTC, is_causal=True)


def leak(x_BTC: Tensor, taps_TC: Tensor) -> float:
    """How much the first half's results of one transform change when the second half is another, over their size."""
    half = x_BTC.shape[1] // 2
    other_BTC = x_BTC.clone()
    other_BTC[:, half:] = torch.randn_like(other_BTC[:, half:])
    before, after = (one_transform(each, taps_TC)[:, :half] for each in (x_BTC, other_BTC))
    return float((before - after).abs().max() / before.std())


if __name__ == "__main__":
    main()
