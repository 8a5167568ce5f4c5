"""The loss of preferences beside that of TRL's ``DPOTrainer``, on the same batch of pairs and the same weights.

    pip install trl
    python -m benchmarks.preference_loss

Prints a Markdown table. Our side reads shards from a disk: packed rows, a target mask, stored reference likelihoods,
weights of targets in the fused loss. TRL gets the exported models, the ids of the pairs, and computes the reference
itself. Both are fp32.
"""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from torch import nn

from llm_core.evals.reference import answer_nats
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import DPOSpec
from llm_core.model.build import build_model
from llm_core.model.hf.exporting import export_folder
from llm_core.tokens.pairs import PairRows
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.reference import FILE, Reference
from llm_core.tokens.shard_file import write_shard
from llm_core.tokens.target_mask import FILE as MASK
from llm_core.train.preference_loss import preference_losses
from tests.model.hf.parity import their_loaded

VOCABULARY, LENGTH, PAIRS = 256, 128, 24
SPEC = {
    "d_model": 64,
    "n_layers": 3,
    "mixer": {"kind": "attention", "n_heads": 4, "n_kv_heads": 2},
    "feed_forward": {"kind": "swiglu", "d_ff": 128},
    "document_mask": True,
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = ModelSpec.model_validate(SPEC)
    policy = build_model(spec, VOCABULARY)
    reference = copy.deepcopy(policy)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * parameter.std() * torch.randn_like(parameter) if parameter.ndim > 1 else 0)
    print(f"{PAIRS} pairs, TRL {trl.__version__}\n")
    print("| β | our loss | TRL's loss | difference | our gradient's norm | TRL's |")
    print("|---:|---:|---:|---:|---:|---:|")
    pairs = made_pairs()
    for beta in (0.01, 0.1, 1.0):
        ours, theirs = our_side(policy, reference, pairs, beta), their_side(policy, reference, pairs, beta)
        norms = f"{ours[1]:.6f} | {theirs[1]:.6f}"
        print(f"| {beta:g} | {ours[0]:.7f} | {theirs[0]:.7f} | {abs(ours[0] - theirs[0]):.1e} | {norms} |")


def made_pairs() -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt, chosen, rejected) as ids; 0 ends a document."""
    draw = np.random.default_rng(0)

    def ids(low: int, high: int) -> list[int]:
        found: list[int] = draw.integers(1, VOCABULARY, draw.integers(low, high)).tolist()
        return found

    return [(ids(3, 20), [*ids(1, 30), 0], [*ids(1, 30), 0]) for _ in range(PAIRS)]


def our_side(policy: nn.Module, before: nn.Module, pairs: list, beta: float) -> tuple[float, float]:
    """The mean loss, and the norm of its gradient."""
    with tempfile.TemporaryDirectory() as name:
        reader = written(Path(name), pairs)
        np.save(reader.folder / "train" / FILE, answer_nats(before, reader, LENGTH, 4, "fp32"))
        rows = PairRows(reader, LENGTH)
        every = np.arange(rows.rows)
        batch = tuple(torch.from_numpy(part) for part in rows.batch(every))
        reference = torch.from_numpy(Reference(reader).of(rows.pieces(every)))
    losses = preference_losses(policy.train(), batch, reference, DPOSpec(beta=beta))
    policy.zero_grad()
    (losses.objective / PAIRS).backward()
    return float(losses.cross_entropy) / PAIRS, float(nn.utils.get_total_norm([p.grad for p in policy.parameters()]))


def written(folder: Path, pairs: list) -> ShardReader:
    documents = [prompt + answer for prompt, *answers in pairs for answer in answers]
    targets = [[False] * len(prompt) + [True] * len(answer) for prompt, *answers in pairs for answer in answers]
    stream, own = np.concatenate(documents), folder / "train"
    own.mkdir()
    write_shard(own / "a.bin", stream, dtype="uint16", vocab_size=VOCABULARY, tokenizer="ab" * 16)
    np.save(own / "documents.npy", np.cumsum([0, *map(len, documents)]).astype(np.int64))
    np.save(own / MASK, np.concatenate(targets))
    record = {"file": "train/a.bin", "tokens": len(stream), "documents": len(documents), "source": "a"}
    split = {"tokens": len(stream), "documents": len(documents), "shards": [record]}
    index = {"dtype": "uint16", "vocab_size": VOCABULARY, "eot": 0, "tokenizer": "ab" * 16, "splits": {"train": split}}
    (folder / "shards.json").write_text(json.dumps(index))
    return ShardReader(folder, "train")


def their_side(policy: nn.Module, before: nn.Module, pairs: list, beta: float) -> tuple[float, float]:
    """The same by TRL, which is given one text to be built, and then the ids."""
    with tempfile.TemporaryDirectory() as name:
        loaded = []
        for number, model in enumerate((policy, before)):
            export_folder(copy.deepcopy(model), Path(name, str(number)), sequence_length=LENGTH)
            loaded.append(their_loaded(Path(name, str(number))))
        special = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<end>")
        words = Tokenizer(models.WordLevel({"<end>": 0, "a": 1}, "<end>"))
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)
        settings = trl.DPOConfig(
            name, beta=beta, use_cpu=True, bf16=False, report_to="none", max_length=None, gradient_checkpointing=False
        )
        texts = Dataset.from_list([{"prompt": "a", "chosen": "a", "rejected": "a"}] * 2)
        trainer = trl.DPOTrainer(
            loaded[0], ref_model=loaded[1], args=settings, train_dataset=texts, processing_class=tokenizer
        )
        examples = [{"prompt_ids": [0, *prompt], "chosen_ids": a, "rejected_ids": b} for prompt, a, b in pairs]
        loss = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
        loss.backward()
        gradients = [parameter.grad for parameter in trainer.model.parameters() if parameter.grad is not None]
    return float(loss.detach()), float(nn.utils.get_total_norm(gradients))


if __name__ == "__main__":
    main()
