import threading

import numpy as np
import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.tokens.loader import Loader
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.shard_file import HEADER_BYTES
from llm_core.train.distribution import World
from llm_core.train.prefetch import DEPTH, Prefetch
from tests.train.runs import ALONE, write_shards


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "shards")


def loader(shards):
    return Loader(ShardReader(shards, "train"), 32, 8, 7, packing="best_fit")


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("world", [ALONE, World(1, 2, torch.device("cpu"))])
def test_batches_come_as_the_loader_makes_them(shards, world):
    expected = loader(shards)
    with Prefetch(loader(shards), 3, 9, world) as batches:
        found = list(batches)
    assert [ready.step for ready in found] == list(range(3, 9))
    for ready in found:
        arrays = expected.batch(ready.step, world.rank, world.size)
        for tensor, array in zip((ready.inputs_BT, ready.targets_BT, ready.document_ids_BT), arrays, strict=True):
            assert np.array_equal(tensor.numpy(), array)
        assert (ready.targets, ready.digest) == (expected.targets(ready.step), expected.digest(ready.step))
    assert not threads()


def test_a_few_batches_are_ready_and_no_more(shards):
    read, enough = [], threading.Event()

    class Counted(Loader):
        def batch(self, step, *world):
            read.append(step)
            if len(read) > DEPTH:
                enough.set()
            return super().batch(step, *world)

    with Prefetch(Counted(ShardReader(shards, "train"), 32, 8, 7, "concat"), 0, 100, ALONE) as batches:
        assert enough.wait(10)
        assert next(iter(batches)).step == 0
        assert threads()
    assert len(read) <= DEPTH + 2
    assert not threads()


def test_leaving_early_ends_the_thread(shards):
    def fails_in_the_first_step():
        with Prefetch(loader(shards), 0, 10**9, ALONE) as batches:
            for ready in batches:
                raise ZeroDivisionError(ready.step)

    with pytest.raises(ZeroDivisionError, match="0"):
        fails_in_the_first_step()
    assert not threads()


def test_an_error_in_the_thread_reaches_the_consumer_after_the_batches_before_it(shards):
    damaged = loader(shards)
    path = shards / "train" / "a-000.bin"
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 1 :: 2] = b"\xff" * len(content[HEADER_BYTES + 1 :: 2])
    with path.open("r+b") as file:
        file.write(content)
    with Prefetch(damaged, 0, 10, ALONE) as batches, pytest.raises(PedigreeError, match=r"a-000\.bin: holds"):
        list(batches)
    assert not threads()
