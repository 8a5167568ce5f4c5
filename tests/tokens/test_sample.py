import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime, artifact_files
from llm_core.tokens import sample
from llm_core.tokens.sample import Sampled, key_tasks, limit, size_up_to, texts_up_to
from tests.data.stages import artifact, documents, write


def sampled(folder, *parts):
    """The parts of a split with their keys made."""
    write(folder, *parts, below="train")
    made = artifact(folder)
    job = Job(
        "stage", "identity", {"documents": made}, folder / "work", folder / "out", Runtime(ComputeSpec(workers=1))
    )
    tasks = key_tasks(artifact_files(made), "train")
    return [
        Sampled(part.stats["source"], task.inputs["documents"].path, part.folder / "keys.npy")
        for task, part in zip(tasks, job.map(tasks, link=False), strict=True)
    ]


def test_it_is_bounded_and_mixes_parts(tmp_path):
    parts = sampled(tmp_path, *(documents([f"{n:03d}" * 10 for n in range(200)], origin=name) for name in "abc"))
    smaller: set[str] = set()
    for bound in (1, 3000, 6000, 18_000, 10**9):
        highest = limit(parts, bound)
        texts = list(texts_up_to(parts, highest))
        size = sum(map(len, texts))
        assert size_up_to(parts, highest) == (len(texts), size)
        assert size == (30 if bound == 1 else min(bound, 18_000))
        assert smaller <= set(texts), "a larger sample holds the smaller ones"
        smaller = set(texts)
        if bound == 6000:
            found = [len(list(texts_up_to([part], highest))) for part in parts]
            assert min(found) > 40


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 50)), max_size=30, unique_by=lambda key: key[0]),
        min_size=1,
        max_size=4,
    ).filter(lambda parts: 0 < sum(map(len, parts)) == len({key for keys in parts for key, _ in keys})),
    bound=st.integers(0, 900),
    bits=st.sampled_from([1, 4, 16]),
)
def test_the_lowest_hashes_that_fit(tmp_path_factory, parts, bound, bits):
    folder = tmp_path_factory.mktemp("keys")
    files = []
    for number, keys in enumerate(parts):
        np.save(folder / f"{number}.npy", np.array(keys, dtype=sample._KEYS))
        files.append(Sampled("made", folder / "none", folder / f"{number}.npy"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "_BUCKET_BITS", bits)
        highest = limit(files, bound)
    ordered = sorted(key for keys in parts for key in keys)
    chosen, size = [], 0
    for hashed, length in ordered:
        if chosen and size + length > bound:
            break
        chosen.append(hashed)
        size += length
    assert [hashed for hashed, _ in ordered if hashed <= highest] == chosen
    assert 0 <= highest < 2**64
