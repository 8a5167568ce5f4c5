"""Writes docs/images/identity.svg: from the experiment to the store. Run: python docs/images/make_identity.py."""

from pathlib import Path

WIDTH = 400
"""Pixels: a phone shows the picture at its own size."""

INK, MUTED, RULE, PAPER = "#1d2733", "#5b6773", "#a9b4bf", "#ffffff"
BLUE, TEAL, SAND = "#dbe9f7", "#d6efe9", "#f7ecd9"

parts: list[str] = []


def text(x: float, y: float, words: str, size: int = 15, weight: int = 400, colour: str = INK) -> None:
    parts.append(
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" text-anchor="middle">{words}</text>'
    )


def box(x: float, y: float, width: float, height: float, colour: str, title: str, *lines: str) -> None:
    parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="9" fill="{colour}" stroke="{RULE}"/>')
    text(x + width / 2, y + 24, title, 16, 650)
    for number, line in enumerate(lines):
        text(x + width / 2, y + 45 + 19 * number, line, 14, colour=MUTED)


def arrow(*points: tuple[float, float]) -> None:
    line = " ".join(f"{x},{y}" for x, y in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{MUTED}" stroke-width="1.6" marker-end="url(#tip)"/>')


box(20, 16, 360, 58, BLUE, "Experiment", "one YAML file: raw, cleaning, …, training")
arrow((200, 74), (200, 104))
box(20, 106, 360, 58, BLUE, "Stage", "such as clean_documents: it gets to see")
for x in (78, 200, 322):
    arrow((x, 164), (x, 194))
box(20, 196, 116, 76, PAPER, "its slice", "of the", "experiment")
box(142, 196, 116, 76, PAPER, "its code", "all functions", "that it reaches")
box(264, 196, 116, 76, PAPER, "its inputs", "by their", "content")
for x in (78, 200, 322):
    arrow((x, 272), (x, 302))
box(20, 304, 360, 58, SAND, "Identity", "one hash of these three: 93efcba2652b…")
arrow((110, 362), (110, 412))
arrow((290, 362), (290, 412))
text(62, 392, "it is there", 14, colour=MUTED)
text(342, 392, "it is not", 14, colour=MUTED)
box(20, 414, 175, 77, TEAL, "Hit", "nothing is made,", "it is used as it is")
box(205, 414, 175, 77, TEAL, "Make", "build, check,", "commit by one rename")
arrow((110, 491), (110, 523))
arrow((290, 491), (290, 523))
box(20, 525, 360, 77, SAND, "Store", "a folder for each identity:", "files, and a manifest that says from what")
text(200, 630, "The content of what lies there is the input", 14, colour=MUTED)
text(200, 649, "of the next stage, and so on to the report.", 14, colour=MUTED)

HEIGHT = 664
picture = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" \
font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif">
<title>From the experiment to the store</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0,0 L8,4 L0,8 z" fill="{MUTED}"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>
{chr(10).join(parts)}
</svg>
"""
(Path(__file__).parent / "identity.svg").write_text(picture, encoding="utf-8")
