import re

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.dotted import dotted


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("019.. aé"), max_size=20), max_size=5), st.integers(2, 4))
def test_numbers_joined_by_dots(texts, least):
    expected = [re.search(rf"[0-9]+(?:\.[0-9]+){{{least - 1}}}", text) is not None for text in texts]
    assert dotted(to_texts(pl.Series(texts, dtype=pl.String)), least).tolist() == expected
