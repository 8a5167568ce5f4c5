"""What a run reads: batches of the training split, and the held-out split for validation."""

from typing import NamedTuple

from llm_core.errors import PedigreeError
from llm_core.tokens.loader import Loader, ShardReader
from llm_core.train.spec import TrainerSpec


class Data(NamedTuple):
    """Training batches, and the stream that validation reads."""

    train: Loader
    heldout: ShardReader


def open_data(spec: TrainerSpec, ranks: int) -> Data:
    """Open the shards; ``PedigreeError`` when this run can't be trained on them, or not by ``ranks`` ranks."""
    training = spec.training
    reader = ShardReader(spec.shards, "train")
    heldout = ShardReader(spec.shards, "heldout")
    if reader.vocab_size > spec.vocab_size:
        raise PedigreeError(
            f"{spec.shards}: the shards have {reader.vocab_size} token ids, but the model only {spec.vocab_size}; "
            f"set tokenizer.vocab_size to {reader.vocab_size}"
        )
    if training.batch_size % ranks:
        raise PedigreeError(
            f"training.batch_tokens: a batch of {training.batch_size} sequences can't be shared by {ranks} ranks; "
            f"make it a multiple of {ranks} × sequence_length ({ranks * training.sequence_length})"
        )
    train = Loader(reader, training.sequence_length, training.batch_size, spec.seed)
    if train.windows < training.batch_size:
        raise PedigreeError(
            f"{spec.shards}: the training split has {reader.tokens} tokens, less than one batch "
            f"(training.batch_tokens {training.batch_tokens}); use more text or smaller batches"
        )
    if heldout.tokens <= training.sequence_length:
        raise PedigreeError(
            f"{spec.shards}: the held-out split has {heldout.tokens} tokens, less than one sequence "
            f"(training.sequence_length {training.sequence_length}); raise split.heldout_share or use more text"
        )
    return Data(train, heldout)
