"""The data of a run: batches of the training split, and the held-out split for validation."""

from itertools import pairwise
from typing import Any, NamedTuple

from llm_core.errors import PedigreeError
from llm_core.experiment.training import TrainingSpec
from llm_core.tokens.batch_sizes import batch_sizes, tokens_before
from llm_core.tokens.loader import Loader, open_loader
from llm_core.tokens.reader import ShardReader
from llm_core.train.spec import TrainerSpec


class Data(NamedTuple):
    """The loader of training batches, and the reader of the held-out split."""

    train: Loader
    heldout: ShardReader


def open_data(spec: TrainerSpec, ranks: int) -> Data:
    """Open the shards; ``PedigreeError`` when ``ranks`` ranks can't train this run on them."""
    training = spec.training
    heldout = ShardReader(spec.shards, "heldout")
    if heldout.vocab_size > spec.vocab_size:
        raise PedigreeError(
            f"{spec.shards}: the shards have {heldout.vocab_size} token ids, but the model only {spec.vocab_size}; "
            f"set tokenizer.vocab_size to {heldout.vocab_size}"
        )
    for _, sequences in batch_sizes(training).phases:
        if sequences % ranks:
            raise PedigreeError(
                f"training.batch_tokens: a batch of {sequences} sequences can't be shared by {ranks} ranks; "
                f"make it a multiple of {ranks} × sequence_length ({ranks * training.sequence_length})"
            )
    train = open_loader(spec.shards, training, spec.seed)
    if training.dpo is not None and None in train.references:
        raise PedigreeError(f"{spec.shards}: has no reference likelihoods, which training.dpo needs; make them first")
    if train.rows < training.batch_size:
        tokens = sum(reader.tokens for reader in train.readers)
        raise PedigreeError(
            f"{spec.shards}: the training split has {tokens} tokens, less than one batch "
            f"(training.batch_tokens {training.batch_tokens}); use more text or smaller batches"
        )
    if training.mixture:
        train.check_epochs(training.steps, training.mixture.max_epochs)
    if heldout.tokens < training.sequence_length:
        raise PedigreeError(
            f"{spec.shards}: the held-out split has {heldout.tokens} tokens, less than one sequence "
            f"(training.sequence_length {training.sequence_length}); raise split.heldout_share or use more text"
        )
    return Data(train, heldout)


def data_statistics(loader: Loader, training: TrainingSpec) -> dict[str, Any]:
    """Statistics of what a run reads: shares and epochs of the sources, and the packing of their documents."""
    planned = loader.planned(training.steps)
    return {
        "sources": {
            plan.source: {
                "share": plan.share,
                "sequences": plan.sequences,
                "tokens_there": plan.tokens,
                "epochs": plan.epochs,
                **packed.stats(),
            }
            for plan, packed in zip(planned, loader.packed, strict=True)
        },
        "packing": loader.packing,
    }


def mean_sequence_length(training: TrainingSpec) -> float:
    """The mean tokens per sequence, weighted by the tokens of the run."""
    phases = training.sequence_schedule
    if not phases:
        return float(training.sequence_length)
    ends = [tokens_before(training, min(phase.from_step, training.steps)) for phase in phases]
    ends.append(tokens_before(training, training.steps))
    shares = [(stop - start) / ends[-1] for start, stop in pairwise(ends)]
    return sum(phase.sequence_length * share for phase, share in zip(phases, shares, strict=True))
