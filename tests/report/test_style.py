import re

from llm_core.report.style import BLUE, draw


def test_one_drawing_for_png_and_page() -> None:
    picture = draw("curve", 'a < b & "c"', (3, 2), lambda axes: axes.plot([0, 1], [1, 0], color=BLUE))
    assert picture.png.startswith(b"\x89PNG")
    assert "var(--blue)" in picture.svg
    assert BLUE not in picture.svg
    assert 'aria-label="a &lt; b &amp; &quot;c&quot;"' in picture.svg
    assert "http" not in picture.svg
    assert "DejaVu" not in picture.svg


def test_drawings_repeat_and_their_ids_differ() -> None:
    def svg(name: str) -> str:
        return draw(name, "c", (3, 2), lambda axes: axes.plot([0, 1], [1, 0], marker="o")).svg

    assert svg("one") == svg("one")
    ids = [set(re.findall(r'id="([^"]+)"', svg(name))) for name in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]
    # Every reference inside a drawing still finds its target.
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg("one"))) <= ids[0]


def test_names_are_no_formulas() -> None:
    svg = draw("names", "c", (3, 2), lambda axes: axes.set_title("$x^{$")).svg
    assert "$x^{$" in svg
