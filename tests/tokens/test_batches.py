from llm_core.tokens import batches


def test_batches_are_bounded_in_bytes_not_in_documents(monkeypatch):
    monkeypatch.setattr(batches, "BATCH_BYTES", 10)
    texts = ["a" * 4, "éé", "b", "c" * 30, "", "d", "x" * 9]
    found = list(batches.batches(iter(texts)))
    assert found == [["a" * 4, "éé", "b", "c" * 30], ["", "d", "x" * 9]]
    assert list(batches.batches([])) == []


def test_many_short_texts_and_a_few_long_ones():
    long = ["x" * (3 << 20)] * 5
    assert [len(batch) for batch in batches.batches(long)] == [2, 2, 1]
    assert len(list(batches.batches(["short"] * 5000))) == 1
