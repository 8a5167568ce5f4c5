"""The letters of byte-level BPE: a printable character for every byte (Radford et al., 2019)."""


def _alphabet() -> str:
    """The character of every byte: itself where that is printable Latin-1, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


ALPHABET = _alphabet()
