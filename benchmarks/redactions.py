"""What the redactions find and what they leave, on made lines, beside datatrove: ``python benchmarks/redactions.py``.

Every line is a sentence of made words with one piece in it. A kind whose piece is to be taken out counts for recall;
a kind whose piece is to stay counts for precision, and so does a line of which more or less than the piece is gone.
datatrove's column is left out where it is not installed (extra ``bench``); it has no telephone numbers.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

import phonenumbers
import polars as pl

from llm_core.data.redactions.phones.numbers import PHONE
from llm_core.data.redactions.pieces import EMAIL, IP, IPV6
from llm_core.registries import REDACTIONS

COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "AU", "IN", "BR")
SYLLABLES = "ba do ki lu me nor pa ri sten tu vel wim zan gor hal ne osk mi".split()  # noqa: SIM905 (words, not a list)
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Make = Callable[[random.Random], str]


class Kind(NamedTuple):
    """Lines with pieces of one kind, and the redaction that takes the piece out, or must not."""

    name: str
    redaction: str
    gone: bool
    make: Make
    leads: tuple[str, ...] = ("",)


class Line(NamedTuple):
    """A line: what stands before the piece, the piece, what follows."""

    before: str
    piece: str
    after: str

    @property
    def text(self) -> str:
        return f"{self.before}{self.piece}{self.after}"


def word(draw: random.Random) -> str:
    return "".join(draw.choices(SYLLABLES, k=draw.randint(1, 3)))


def words(draw: random.Random, least: int, most: int) -> str:
    return " ".join(word(draw) for _ in range(draw.randint(least, most)))


def line(draw: random.Random, kind: Kind) -> Line:
    """``kind``'s piece in a sentence, in brackets, at the start or the end of one, or in a list."""
    before, after = words(draw, 2, 6).capitalize(), words(draw, 2, 6)
    forms = (
        (f"{before} ", f" {after}."),
        (f"{before}: ", f", {after}."),
        (f"{before} (", f") {after}."),
        (f"{before} ", "."),
        (f"{before}, {after}\n", f"\n{before}"),
        (f"{before}; ", ""),
    )
    start, end = draw.choice(forms)
    return Line(start + draw.choice(kind.leads), kind.make(draw), end)


def number(draw: random.Random, region: str) -> phonenumbers.PhoneNumber:
    """A valid number of ``region``: its example with other digits at the end."""
    kinds = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
    while True:
        example = phonenumbers.example_number_for_type(region, draw.choice(kinds))
        digits = str(example.national_number)
        varied = draw.randint(4, 6)
        end = "".join(draw.choices("0123456789", k=varied))
        made = phonenumbers.PhoneNumber(
            country_code=example.country_code,
            national_number=int(digits[:-varied] + end),
            italian_leading_zero=example.italian_leading_zero,
        )
        if phonenumbers.is_valid_number_for_region(made, region):
            return made


def e164(draw: random.Random) -> str:
    region = draw.choice(sorted(phonenumbers.SUPPORTED_REGIONS - {"001"}))
    if phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.FIXED_LINE) is None:
        region = draw.choice(COUNTRIES)
    return phonenumbers.format_number(_any(draw, region), phonenumbers.PhoneNumberFormat.E164)


def _any(draw: random.Random, region: str) -> phonenumbers.PhoneNumber:
    """A number of a region of which no more than the example may be known."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.FIXED_LINE)
    for _ in range(50):
        digits = str(example.national_number)
        made = phonenumbers.PhoneNumber(
            country_code=example.country_code,
            national_number=int(digits[:-3] + "".join(draw.choices("0123456789", k=3))),
            italian_leading_zero=example.italian_leading_zero,
        )
        if phonenumbers.is_valid_number(made):
            return made
    return example


def international(draw: random.Random) -> str:
    made = number(draw, draw.choice(COUNTRIES))
    written = phonenumbers.format_number(made, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return written.replace(" ", draw.choice(" -.")) if draw.random() < 0.5 else written


def national(region: str) -> Make:
    def make(draw: random.Random) -> str:
        return phonenumbers.format_number(number(draw, region), phonenumbers.PhoneNumberFormat.NATIONAL)

    return make


def ipv4(draw: random.Random) -> str:
    first = draw.choice([*range(11, 100), *range(128, 169), *range(204, 224)])
    return ".".join(map(str, (first, *(draw.randint(0, 255) for _ in range(3)))))


def ipv6(draw: random.Random) -> str:
    groups = [f"{draw.choice((0x2A00, 0x2600, 0x2400, 0x2001)):x}", f"{draw.randint(0x400, 0xCFF):x}"]
    groups += [f"{draw.randint(0, 0xFFFF):x}" for _ in range(6)]
    if draw.random() < 0.5:
        left = draw.randint(2, 4)
        return ":".join(groups[:left]) + "::" + ":".join(groups[left : left + draw.randint(1, 3)])
    return ":".join(groups)


def version(draw: random.Random) -> str:
    return ".".join(str(draw.randint(0, 60)) for _ in range(4))


def oid(draw: random.Random) -> str:
    return "1.3.6.1" + "".join(f".{draw.randint(1, 9999)}" for _ in range(draw.choice((0, 1, 3, 5))))


def clock(draw: random.Random) -> str:
    pairs = [f"{draw.randint(0, 59):02}" for _ in range(3)]
    mac = [f"{draw.randint(0, 255):02x}" for _ in range(6)]
    names = f"{word(draw)}::{word(draw)}"
    return draw.choice((":".join(pairs), ":".join(mac), names, f"{draw.randint(1, 9)}:{draw.randint(1, 9)}:1"))


def isbn(draw: random.Random) -> str:
    core = "978" + "".join(draw.choices("0123456789", k=9))
    digits = core + str(-sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(core)) % 10)
    if draw.random() < 0.5:
        digits = digits[3:12] + "0"
    cuts = sorted(draw.sample(range(2, 9), 2))
    head, rest = (digits[:-10], digits[-10:])
    parts = [*([head] if head else []), rest[0], rest[1 : cuts[0]], rest[cuts[0] : cuts[1]], rest[cuts[1] : 9], rest[9]]
    return draw.choice("- ").join(part for part in parts if part) if draw.random() < 0.7 else digits


def card(draw: random.Random) -> str:
    groups = ["".join(draw.choices("0123456789", k=4)) for _ in range(4)]
    return draw.choice("- ").join(["4" + groups[0][1:], *groups[1:]])


def pages(draw: random.Random) -> str:
    first = draw.randint(100, 4000)
    return f"{first}-{first + draw.randint(2, 60)}"


def table(draw: random.Random) -> str:
    return " ".join(str(draw.randint(1, 10 ** draw.randint(1, 4))) for _ in range(draw.randint(5, 12)))


def date(draw: random.Random) -> str:
    year, month, day = draw.randint(1900, 2030), draw.randint(1, 12), draw.randint(1, 28)
    hour = f"{draw.randint(0, 23):02}:{draw.randint(0, 59):02}"
    forms = (f"{year}-{month:02}-{day:02}", f"{day:02}.{month:02}.{year}", f"{month:02}/{day:02}/{year}")
    return draw.choice((*forms, f"{forms[0]} {hour}", f"{year}-{year + 3}", f"{year} {year + 1} {year + 2}"))


def money(draw: random.Random) -> str:
    return draw.choice(("$", "€ ", "USD ")) + f"{draw.randint(10**6, 10**10):,}".replace(",", draw.choice(", "))


def order(draw: random.Random) -> str:
    return "-".join("".join(draw.choices("23456789", k=size)) for size in draw.choice(((3, 3, 4), (3, 7, 7), (5, 5))))


def account(draw: random.Random) -> str:
    name = word(draw) + draw.choice(("", "." + word(draw), "+" + word(draw), "_" + str(draw.randint(1, 99))))
    return name if draw.random() < 0.7 else name.capitalize()


def email(draw: random.Random) -> str:
    top = draw.choice(("com", "org", "co.uk", "de"))
    return f"{account(draw)}@{draw.choice(('', word(draw) + '.'))}{word(draw)}.{top}"


def international_email(draw: random.Random) -> str:
    accented = "".join(draw.choice("äöüéèñçåøßž") if draw.random() < 0.3 else letter for letter in word(draw)) + "é"
    host = draw.choice(("bücher", "exámple", "пример", "例子", "παράδειγμα", "xn--bcher-kva"))
    top = draw.choice(("com", "de", "org", "example", "рф" if host == "пример" else "eu"))
    return f"{draw.choice((accented, account(draw)))}@{host}.{top}"


def no_email(draw: random.Random) -> str:
    name, path = word(draw), f"{word(draw)}/{word(draw)}"
    return draw.choice(
        (
            f"git@{name}.com:{path}.git",
            f"@{name}",
            f"{name}@{draw.randint(0, 9)}.{draw.randint(0, 20)}.{draw.randint(0, 9)}",
            f"{name}@localhost",
            f"@{name}.{word(draw)}",
            f"{name}@2x.png",
        )
    )


KINDS = (
    Kind("E.164", "phones", True, e164),
    Kind("international, written apart", "phones", True, international),
    *(Kind(f"national, {region}", "phones", True, national(region)) for region in COUNTRIES),
    Kind("ISBN", "phones", False, isbn, ("ISBN ", "ISBN: ", "ISBN-13 ", "")),
    Kind("card-like", "phones", False, card),
    Kind("pages", "phones", False, pages, ("pages ", "pp. ", "p. ", "")),
    Kind("rows of tables", "phones", False, table, ("", "Table ")),
    Kind("dates and years", "phones", False, date),
    Kind("sums of money", "phones", False, money),
    Kind("order numbers", "phones", False, order, ("order no. ", "Order #", "invoice ")),
    Kind("versions", "phones", False, version, ("version ", "v", "")),
    Kind("IPv4 addresses", "phones", False, ipv4),
    Kind("IPv4", "public_ips", True, ipv4, ("", "", "from ", "http://")),
    Kind("IPv6", "public_ips", True, ipv6),
    Kind("versions", "public_ips", False, version, ("version ", "v", "Firefox/", "release ", "section ", "Reader XI ")),
    Kind("OIDs", "public_ips", False, oid, ("OID ", "", "object ")),
    Kind("times, MAC addresses, names", "public_ips", False, clock),
    Kind("ASCII", "emails", True, email),
    Kind("umlauts and IDN", "emails", True, international_email),
    Kind("no addresses", "emails", False, no_email),
)


def lines(kind: Kind, count: int, seed: int) -> list[Line]:
    draw = random.Random(f"{seed} {kind.redaction} {kind.name}")
    return [line(draw, kind) for _ in range(count)]


def ours(redaction: str) -> Callable[[list[str]], list[str]]:
    def run(texts: list[str]) -> list[str]:
        found: list[str] = REDACTIONS.load(redaction)().redacted(pl.Series("text", texts))[0].to_list()
        return found

    return run


def datatroves(redaction: str) -> Callable[[list[str]], list[str]] | None:
    """datatrove's, with our replacements; None for what it has not."""
    if redaction == "phones" or find_spec("datatrove") is None:
        return None
    from datatrove.pipeline.formatters.pii import PIIFormatter

    formatter = PIIFormatter(
        remove_emails=redaction == "emails",
        remove_ips=redaction != "emails",
        email_replacement=EMAIL,
        ip_replacement=IP,
    )
    return lambda texts: [formatter.format(text) for text in texts]


class Score(NamedTuple):
    """Lines of a kind in which exactly the piece is gone, and in which something is gone."""

    exact: int
    touched: int


def score(made: list[Line], run: Callable[[list[str]], list[str]]) -> Score:
    exact = touched = 0
    for each, text in zip(made, run([each.text for each in made]), strict=True):
        touched += text != each.text
        exact += text in {f"{each.before}{new}{each.after}" for new in (EMAIL, IP, IPV6, PHONE)}
    return Score(exact, touched)


def cells(kind: Kind, found: Score | None, count: int) -> str:
    """Precision and recall of a kind that is to go; of one that is to stay, the share that stays."""
    if found is None:
        return "| | "
    if kind.gone:
        precision = found.exact / found.touched if found.touched else 1.0
        return f"| {precision:.3f} | {found.exact / count:.3f} "
    return f"| {1 - found.touched / count:.3f} | "


def misses(kind: Kind, made: list[Line], run: Callable[[list[str]], list[str]]) -> Iterator[str]:
    for each in made:
        found = score([each], run)
        if found.touched != kind.gone or (kind.gone and not found.exact):
            yield f"{kind.redaction}, {kind.name}: {each.text!r} -> {run([each.text])[0]!r}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200, help="lines of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--misses", action="store_true", help="print the lines that come out wrong")
    options = parser.parse_args()
    print("| redaction | kind | to go | precision | recall | datatrove's precision | datatrove's recall |")
    print("|---|---|---|--:|--:|--:|--:|")
    wrong: list[str] = []
    for kind in KINDS:
        made = lines(kind, options.lines, options.seed)
        run, theirs = ours(kind.redaction), datatroves(kind.redaction)
        row = cells(kind, score(made, run), options.lines)
        row += cells(kind, score(made, theirs) if theirs else None, options.lines)
        print(f"| `{kind.redaction}` | {kind.name} | {'yes' if kind.gone else 'no'} {row}|")
        wrong += misses(kind, made, run)
    if options.misses:
        print("\n".join(["", *wrong]))


if __name__ == "__main__":
    main()
