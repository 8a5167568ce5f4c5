"""How well a run uses its machine: model FLOPs utilisation."""

from llm_core.experiment.model import ModelSpec
from llm_core.model.accounting import flops_per_token
from llm_core.runtime_only import runtime_only
from llm_core.train.hardware import peak_flops


@runtime_only("a speed, which is volatile")
def mfu(
    model: ModelSpec, vocab_size: int, sequence_length: int, tokens_per_second: float, device: str, ranks: int
) -> float | None:
    """Model FLOPs utilisation: the FLOP/s of ``flops_per_token``, divided by the bf16 peak of all devices.

    None where the peak is not known, as on a CPU.
    """
    peak = peak_flops(device)
    if peak is None:
        return None
    return tokens_per_second * flops_per_token(model, vocab_size, sequence_length) / (peak * ranks)
