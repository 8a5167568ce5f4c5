import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.experiment.training import BatchPhase, MixtureSpec, SequencePhase, TrainingSpec
from llm_core.registries import PACKINGS
from llm_core.tokens.batch_sizes import BatchSizes
from llm_core.tokens.loader import IGNORED, Batch, Loader, open_loader, windows
from llm_core.tokens.reader import ShardReader
from tests.tokens.shard_folder import write_shards

BATCH_SIZES = st.dictionaries(st.integers(1, 12), st.integers(1, 9), max_size=3).map(
    lambda phases: BatchSizes([(0, 3), *sorted(phases.items())])
)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
WINDOWS = [name for name in PACKINGS if PACKINGS.load(name).windows]


@st.composite
def runs(draw):
    """Shards of some sources, and the arguments of a loader over them."""
    packing = draw(st.sampled_from([*WINDOWS, *PACKINGS]))
    sources = draw(st.dictionaries(st.sampled_from("abc"), LENGTHS, min_size=1))
    unit, factors = draw(st.integers(1, 5)), draw(st.lists(st.sampled_from([1, 2, 3]), max_size=2))
    lengths = [unit * int(np.prod(factors[:count], dtype=np.int64)) for count in range(len(factors) + 1)]
    longest = lengths[-1]
    schedule = []
    if packing in WINDOWS:
        starts = sorted({0, *draw(st.lists(st.integers(1, 12), max_size=3))})
        schedule = [(start, draw(st.sampled_from(lengths))) for start in starts]
    mixed = len(sources) > 1 and draw(st.booleans())
    assume(all(sum(length) >= longest for length in sources.values()))
    options = {
        "sequence_length": longest,
        "batch_size": draw(st.integers(1, 9) | BATCH_SIZES),
        "seed": draw(st.integers(0, 3)),
        "packing": packing,
        "weights": [draw(st.sampled_from([1.0, 2.0, 5.5])) for _ in sources] if mixed else None,
        "schedule": schedule,
    }
    return {name: sources[name] for name in sorted(sources)}, draw(st.integers(1, 200)), options


def opened(folder, sources, options):
    names = sources if options["weights"] else [None]
    return Loader([ShardReader(folder, "train", name) for name in names], **options)


def global_batch(loader, step, world_size):
    """The batch of all ranks together, put together again."""
    parts = [loader.batch(step, rank, world_size) for rank in range(world_size)]
    rows = sum(len(part.inputs_BT) for part in parts)
    whole = Batch(*(np.empty((rows, array.shape[1]), array.dtype) for array in parts[0]))
    for rank, part in enumerate(parts):
        for to, array in zip(whole, part, strict=True):
            to[rank::world_size] = array
    return whole


def positions_of(loader, step, shape):
    """Which token of the stream, and of which source, every target of a batch is; −1 where it is none."""
    positions, sources = np.full(shape, -1), np.full(shape, -1)
    for sequence, column, source, start, length in loader.pieces(step):
        place = (sequence, slice(column, column + length))
        assert (positions[place] == -1).all()
        positions[place], sources[place] = np.arange(start, start + length), source
    return positions, sources


@settings(max_examples=15, deadline=None)
@given(run=runs(), worlds=st.lists(st.integers(1, 5), min_size=1, max_size=4), restarts=st.sets(st.integers(0, 40)))
def test_every_token_of_every_epoch_is_a_target_once(tmp_path_factory, run, worlds, restarts):
    sources, tokens_per_shard, options = run
    folder = tmp_path_factory.mktemp("shards")
    stream = write_shards(folder, sources, tokens_per_shard)
    lengths = [length for found in sources.values() for length in found]
    document_of = np.repeat(np.arange(len(lengths)), lengths)
    begins = np.append(0, np.cumsum(lengths))[document_of]
    loader = opened(folder, sources, options)
    served = [[] for _ in loader.readers]
    state = loader.state(0)
    for step in range(min(60, 2 * loader.rows // loader.sizes.at(0) + 1)):
        if step in restarts:
            loader = opened(folder, sources, options)
            assert loader.restore(json.loads(json.dumps(state))) == step
        inputs, targets, ids = global_batch(loader, step, worlds[step % len(worlds)])
        state = loader.state(step + 1)
        length = loader.length_at(step)
        assert inputs.shape == (loader.sizes.at(step) * (options["sequence_length"] // length), length)
        tokens, of_source = positions_of(loader, step, inputs.shape)
        filled = tokens >= 0
        assert (targets == np.where(filled, stream[tokens], IGNORED)).all()
        # Inputs are what stands before their targets, and for a document's first token the end-of-text token.
        assert (inputs == np.where(filled & (tokens != begins[tokens]), stream[tokens - 1], 0)).all()
        # No target crosses a masked boundary: equal ids are one document, read on from token to token; in a row, each
        # document has an id of its own.
        assert (ids[:, 0] == 0).all()
        assert (ids[~filled] == -1).all()
        one, other = (slice(None), slice(1, None)), (slice(None), slice(None, -1))
        same = ids[one] == ids[other]
        assert (same | ~filled[one] | (ids[one] == ids[other] + 1)).all()
        read_on = (tokens[one] == tokens[other] + 1) & (document_of[tokens[one]] == document_of[tokens[other]])
        assert (same == np.where(filled[one], read_on, ~filled[other])).all()
        assert loader.targets(step) == filled.sum()
        for source, found in enumerate(served):
            found.append(tokens[of_source == source])
    for reader, packed, spans in zip(loader.readers, loader.packed, served, strict=True):
        dropped = packed.stats().get("dropped_tokens", 0)
        assert dropped < options["sequence_length"]
        epoch = range(reader.start, reader.stop - dropped)
        tokens = np.concatenate(spans)
        for first in range(0, len(tokens), len(epoch)):
            of_epoch = np.sort(tokens[first : first + len(epoch)]).tolist()
            if len(of_epoch) == len(epoch):
                assert of_epoch == list(epoch)
            else:
                assert len(set(of_epoch)) == len(of_epoch)
                assert set(of_epoch) <= set(epoch)


@settings(max_examples=30, deadline=None)
@given(run=runs(), data=st.data())
def test_where_a_range_was_seen_is_where_the_batches_have_it(tmp_path_factory, run, data):
    sources, tokens_per_shard, options = run
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, sources, tokens_per_shard)
    loader = opened(folder, sources, options)
    source = data.draw(st.integers(0, len(loader.readers) - 1))
    reader = loader.readers[source]
    start = data.draw(st.integers(reader.start, reader.stop - 1))
    stop = data.draw(st.integers(start + 1, reader.stop))
    steps = data.draw(st.integers(0, 12))
    expected = [
        (step, piece.sequence, piece.column + token - piece.start, token)
        for step in range(steps)
        for piece in loader.pieces(step)
        for token in range(max(start, piece.start), min(stop, piece.start + piece.length))
        if piece.source == source
    ]
    found = [
        (step, piece.sequence, piece.column + offset, piece.start + offset)
        for step, piece in loader.seen(start, stop, steps, source)
        for offset in range(piece.length)
    ]
    assert found == expected


@pytest.mark.parametrize("packing", PACKINGS)
def test_ranks_without_rows_have_empty_batches(tmp_path, packing):
    write_shards(tmp_path, [50])
    loader = Loader(ShardReader(tmp_path, "train"), 5, 2, 0, packing)
    for array in loader.batch(0, rank=2, world_size=3):
        assert array.shape == (0, 5)
    with pytest.raises(ValueError, match="rank 3"):
        loader.batch(0, rank=3, world_size=3)


def test_arrays_are_of_the_types_that_training_takes(tmp_path):
    write_shards(tmp_path, {"a": [30], "b": [30]})
    readers = [ShardReader(tmp_path, "train", name) for name in "ab"]
    for batch in (
        Loader(readers[0], 5, 4, 0, "concat").batch(0),
        Loader(readers[0], 5, 4, 0, "pad").batch(0),
        Loader(readers, 5, 4, 0, "concat", weights=[1, 1]).batch(0),
        windows(readers[1], np.array([30, 35]), 5),
    ):
        assert [array.dtype for array in batch] == [np.int64, np.int64, np.int32]


def test_one_stream_is_read_in_the_order_of_its_permutation(tmp_path):
    """A change here changes every run that anyone has made: bump nothing without meaning to."""
    write_shards(tmp_path, [100])
    loader = Loader(ShardReader(tmp_path, "train"), 10, 5, 1337, "concat")
    assert loader.rows_of(0)[:, 1].tolist() + loader.rows_of(1)[:, 1].tolist() == [4, 0, 7, 9, 3, 8, 6, 1, 2, 5]


def training(**fields):
    return TrainingSpec(**{"sequence_length": 8, "batch_tokens": 64, "tokens": 640, **fields})


def test_a_loader_of_an_experiment(tmp_path):
    write_shards(tmp_path, {"a": [100], "b": [300], "c": [200]})
    plain = open_loader(tmp_path, training(), 3)
    assert [reader.name for reader in plain.readers] == ["train"]
    mixed = open_loader(tmp_path, training(mixture=MixtureSpec(weights={"c": 3.0, "a": 1.0})), 3)
    assert [reader.name for reader in mixed.readers] == ["a", "c"]
    first, second = mixed.planned(128)
    assert (first.source, first.share, first.sequences, first.tokens) == ("a", 0.25, 256, 100)
    assert first.epochs == pytest.approx(256 / 12)
    assert (second.source, second.share, second.sequences) == ("c", 0.75, 768)
    phases = (SequencePhase(from_step=0, sequence_length=2), SequencePhase(from_step=3, sequence_length=8))
    batches = (BatchPhase(from_step=0, batch_tokens=16), BatchPhase(from_step=2, batch_tokens=64))
    growing = open_loader(tmp_path, training(batch_schedule=batches), 3)
    assert [growing.batch(step).inputs_BT.shape for step in (0, 1, 2, 9)] == [(2, 8), (2, 8), (8, 8), (8, 8)]
    order = [row for step in range(4) for row in growing.rows_of(step).tolist()]
    assert order == [row for step in range(3) for row in plain.rows_of(step).tolist()][:20]
    scheduled = open_loader(tmp_path, training(sequence_schedule=phases), 3)
    assert [scheduled.batch(step).inputs_BT.shape for step in (0, 2, 3, 9)] == [(32, 2), (32, 2), (8, 8), (8, 8)]
    assert scheduled.rows_of(1).tolist() == plain.rows_of(1).tolist()


def test_reading_a_source_too_often_is_refused_with_the_figures(tmp_path):
    write_shards(tmp_path, {"a": [80], "b": [800]})
    loader = open_loader(tmp_path, training(mixture=MixtureSpec(weights={"a": 1.0, "b": 1.0})), 3)
    loader.check_epochs(128, 51.2)
    with pytest.raises(
        PedigreeError, match=r"128 steps take 4,096 tokens from a \(.* 50.0%\), which has 80: 51.20 epochs, .* is 4"
    ):
        loader.check_epochs(128, 4)


def test_the_state_is_small_and_belongs_to_one_order(tmp_path):
    names = [f"source_{number:03d}_{'x' * 100}" for number in range(40)]
    write_shards(tmp_path / "one", {name: [20] for name in names})
    write_shards(tmp_path / "two", {name: [20, 1] for name in names})
    base = {"sequence_length": 8, "batch_size": 4, "seed": 1, "packing": "concat", "weights": [1.0] * 40}

    def loader(folder="one", **changes):
        readers = [ShardReader(tmp_path / folder, "train", name) for name in names]
        return Loader(readers, **{**base, **changes})

    state = loader(schedule=[(100 * n, 2 ** (n % 4)) for n in range(50)]).state(10**9)
    assert len(json.dumps(state)) <= 1024
    state = loader().state(7)
    assert loader().restore(state) == 7
    for changes, name in (
        ({"folder": "two"}, "shards"),
        ({"seed": 2}, "seed is 1 in the checkpoint and 2 here"),
        ({"packing": "pad"}, "packing is 'concat'"),
        ({"batch_size": 5}, "batch_size"),
        ({"batch_size": BatchSizes([(0, 4), (9, 8)])}, "batch_size"),
        ({"sequence_length": 4}, "sequence_length"),
        ({"schedule": [(0, 4), (9, 8)]}, "schedule"),
        ({"weights": [2.0, *[1.0] * 39]}, "mixture"),
    ):
        with pytest.raises(PedigreeError, match=name):
            loader(**changes).restore(state)
    with pytest.raises(PedigreeError, match="seed is None"):
        loader().restore({})


def test_sources_with_different_tokenizers_are_refused(tmp_path):
    write_shards(tmp_path / "one", [50])
    write_shards(tmp_path / "two", [50], tokenizer="cd" * 16)
    readers = [ShardReader(tmp_path / name, "train") for name in ("one", "two")]
    with pytest.raises(PedigreeError, match=r"different tokenizers \(cdcd.* and abab"):
        Loader(readers, 5, 2, 0, "concat", weights=[1, 1])


def test_several_shard_sets_are_read_together(tmp_path):
    streams = [write_shards(tmp_path / name, [length]) for name, length in (("one", 40), ("two", 90))]
    loader = Loader(
        [ShardReader(tmp_path / name, "train") for name in ("one", "two")], 10, 8, 0, "concat", weights=[1, 3]
    )
    batch = loader.batch(0)
    for sequence, _, source, start, length in loader.pieces(0):
        assert batch.targets_BT[sequence].tolist() == streams[source][start : start + length].tolist()
    assert {piece.source for piece in loader.pieces(0)} == {0, 1}


def test_too_little_text_is_refused(tmp_path):
    write_shards(tmp_path, [4])
    with pytest.raises(PedigreeError, match="train has 4 tokens; a sequence_length of 5 needs at least 5"):
        Loader(ShardReader(tmp_path, "train"), 5, 1, 0, "concat")
    assert Loader(ShardReader(tmp_path, "train"), 4, 1, 0, "concat").rows == 1


def test_batches_differ_by_digest(tmp_path):
    write_shards(tmp_path, [400])
    loader = Loader(ShardReader(tmp_path, "train"), 8, 4, 0, "concat", schedule=[(0, 4), (3, 8)])
    assert all(one != two for one, two in pairwise(loader.digest(step) for step in range(20)))
