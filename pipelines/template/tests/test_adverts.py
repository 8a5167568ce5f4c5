import polars as pl
import pytest
from my_model.adverts import advert_lines


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The river rose.\nBuy now and save!", 0.5),
        ("click here\n\nFree shipping today", 1.0),
        ("They buy nowhere else.", 0.0),
        ("", 0.0),
    ],
)
def test_the_share_of_lines_that_read_like_an_advert(text: str, share: float) -> None:
    frame = pl.DataFrame({"text": [text]})
    assert frame.select(advert_lines()).item() == pytest.approx(share)
