"""Formats numbers for people: units, thousands separators, and only significant digits."""

from collections.abc import Callable, Sequence
from datetime import datetime
from math import expm1

NONE = "\N{EN DASH}"
"""Stands where there is no number."""

_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def words(name: str) -> str:
    """A name from the code as words for people."""
    return name.replace("_", " ")


def share(part: float, whole: float) -> str:
    """A part of a whole in percent."""
    return percent(part / whole) if whole else NONE


def loss(value: float | None) -> str:
    """A loss in nats per token; None is that of a run that diverged."""
    return "diverged" if value is None else f"{value:.4f}"


def exact(value: float) -> str:
    """1234567 → ``1,234,567``."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Three digits and a scale: 5243904 → ``5.24M``, 812 → ``812``."""
    for scale, unit in _SCALES:
        # 999,500 and more would be written as 1000k.
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)}{unit}"
    return f"{value:.0f}" if float(value).is_integer() else _three_digits(value)


def tick(value: float) -> str:
    """The shortest form of a value beside an axis: 1500000 → ``1.5M``, 0.003 → ``0.003``."""
    for scale, unit in _SCALES:
        if abs(value) >= scale:
            return _true_minus(f"{value / scale:g}{unit}")
    return _true_minus(f"{value:g}")


def in_bytes(value: float) -> str:
    """5243904 → ``5.24 MB`` (decimal units)."""
    for scale, unit in _BYTES:
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float) -> str:
    """75 → ``1 min 15 s``; 0.42 → ``0.42 s``; 7300 → ``2 h 2 min``."""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds < 0.95 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """0.0312 → ``3.1%``."""
    value = 100 * share
    if value == 0:
        return "0%"
    if 0 < value < 0.01:
        return "< 0.01%"
    return f"{value:.2f}%" if value < 1 else f"{value:.1f}%"


def bounds(interval: Sequence[float] | None, told: Callable[[float], str]) -> str:
    """The bounds of an interval, each as ``told`` writes it: ``58.7%–63.7%``."""
    return NONE if interval is None else NONE.join(map(told, interval))


def dollars(value: float) -> str:
    """12.3 → ``$12.30``; 4321 → ``$4,321``."""
    return f"${value:,.0f}" if value >= 1000 else f"${value:,.2f}"


def signed(value: float, digits: int = 4) -> str:
    """0.0123 → ``+0.0123``, with a true minus sign."""
    return _true_minus(f"{value:+.{digits}f}")


def signed_percent(log: float) -> str:
    """A difference of logarithms in percent: −0.0202 → ``−2.00%``."""
    return f"{signed(100 * expm1(log), 2)}%"


def count(number: int, one: str, many: str = "") -> str:
    """``1 run``, ``3 runs``; ``many``: a plural that does not end in s."""
    return f"{exact(number)} {one if number == 1 else many or f'{one}s'}"


def moment(text: str) -> str:
    """An ISO time → ``2026-01-31 14:05 UTC``, with the recorded offset."""
    when = datetime.fromisoformat(text)
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip()


def _true_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def _three_digits(value: float) -> str:
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f}"
