"""One pass that puts white space, quotation marks and characters in order, and finds what Unicode would change."""

import base64
import zlib
from functools import cache

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.characters import (
    CODE_POINTS,
    EMOJI,
    LETTER,
    MARK,
    NUMBER,
    PUNCTUATION,
    SPACE,
    character_table,
    decode,
)
from llm_core.data.kernels.compiled import kernel

NFC_UNSURE = 1
NFKC_UNSURE = 2
_INVISIBLE = 4
_LINE_END = 8
_NO_BREAK = 16
_JOINER = 32

SYMBOL = 256
"""Stands beside the flags of ``characters`` for what is no letter, mark, number, punctuation or emoji."""

# Characters whose presence alone means that a text may not be in NFC (1) or NFKC (2): those that it changes, all marks,
# and what can join the character before it. Runs of equal flags as in ``characters``, from polars 2.1 (Unicode 16).
_UNSURE_RUNS = (
    "c-q}q&5spD5Z~^enK$$Hz5QZ8M3xnCfdzKik7Rl3W(^8iIbZ~p6AFZnkU$K6M2#dGJsD#>k{A+&n0WGL;z?sX`VYv3iy<K#xOgGq0K~4$ubtl({o"
    "dO^JV++JHB(hxT~%FQZ?E+9^ccTtfMF$o7ViQba01^4t`{%|Z4q#vUxi<j;QtlhPx+N$PwLkOzuuwqQaU4iThePkbX`w8tlO8M-@~_@IiqZ|3I@4"
    "i%bZ^$ehrWxWW5Esmh`v8^9<f6VAB!EdmcIzpg%#j77<%_;(H179oQrEr~TSZ{6m2Kq|ZjspC#LBL=V0yNO!AzBkM`!+gatal=h?~C-6Hu+tI#3b"
    "zi*^eRJg(fy3B03jdom+8NGIR4h+m&l2=!ofGoU6zDB=j#2zIl@IOiq1(QG&>En($ak^*LC?B6cZGN|75_P6NBEZ&t%kFO=Y*ma&{KGt*uRVJ(IW"
    "OuWa%1Gs5+xzgY+4u*h_JiL2U_gPJwTXa+c%As#s{!8Nq*oKT7hX4lKZ?OQziWlPmegA!{SWlfXTGZ6dv9NDo;bfNwLtKcu@Bcnvl_2b~O^VNjo>"
    "hR%a;7CE&QXEt!&1Z<S}>%%_r&o`vc2>Clx`M#iXl<UnnWE<GA1$JM;{y*EqK)1CV!MR9pGLah74IgYPy66yiGF9h-Uvm{x+#_|4Ir3A`Wq|5a$d"
    "xAfcpK_`KgrbhU?~@@im!GyStYAR_ntsjhByg6`d-<12XN6Nz7jptl6D4iPlNZeDf!+7{uAm`0*@m{F5~-k^6^#lJo(-ZoicU5M^&8{{4v0J&>iC"
    "bIPxXb@|=3vXa3Lm_bNZvDUW3x1pGAcQ(du<J{9DQQBMr^S>)6Zdg~Cy##YE$58O2N&ccRC@a@HSgJR55jag8B(s5$QuPNbAt6uUk*(UU%SNyqVw"
    "TwWkcZfHKIZ)ou!p_iNQtG>P@<rNZRudghB1g`d(vN#U-;FzNLhb-$XLuh0U+~{LHRI_#`U3dhK+Dwpm#KNDM!D5z%lGTRT?{#vR5tD)n^x@Vc{a"
    "q)6!k2j{Sf-LEpab`cNzEdDtK2=FXr)m0df|RhuhU%h5k1~JwDWAhZyXm`ZcZU;vDF?`t9&0crta5-vU3<X3l9huht14`gw}nC?auVBEKyRbQPZ0"
    "kc(r$A3~qJMS2vd)q#Hy@!Ul2h(Besz}w2!SZ@&A*CfA2u{RDIr|1q6%EvH+?ZRDLG!-p}exqdL1?b}<zTy7(68VQ`{3E8S4eZl7<^SNn8^cv!5r"
    "6zKUHbR;qU2k`zB%N_O;gEiftKJNc&_~MKnYs|Wh`d4^nu0MW44OL48F+8zY{d~3H@{M{^AcgjI&;j^h+DL$3|pkHpoSub#p}@?+}k%Ki)ttPnxQ"
    "4$V&@*7f5y=;3&xxzaLC1d4uE!eZR6^Ks^=Q74Uszs{EHT?;;NFWB*^a<a-<ZKPQ!48zMPq)vRqIdBJmN(qW!)UF4fJ%tIzJyVctK7SVbSQt#q>6"
    "#PD0#%xM+$0qcANB<`{PxIk4_1{nvzAMnX?)upEi0fHz&)<^s_pLB=ew=^ozboKMJU<U&{x6RuU?0kkN4K3k9(As>bdY7Wh0^^FAN+Rh*&JQ*YMN"
    "^kACC4ujOiUHmN0Z`7pvK;?y-4n=g3(@Ca*=N{ZAf|{13=DW32"
)

# Controls, and what has no width and no meaning for letters: soft hyphen, zero-width space, word joiner, byte-order
# mark, marks of direction. The joiners U+200C and U+200D stay: some scripts and all compound emoji need them.
_INVISIBLE_RANGES = (
    (0x00, 0x08),
    (0x0E, 0x1F),
    (0x7F, 0x84),
    (0x86, 0x9F),
    (0xAD, 0xAD),
    (0x61C, 0x61C),
    (0x200B, 0x200B),
    (0x200E, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2060),
    (0x2066, 0x2069),
    (0xFEFF, 0xFEFF),
)
_LINE_ENDS = "\r\x0b\x0c\x85\u2028\u2029"
_NO_BREAK_SPACES = "\u00a0\u2007\u202f"
_JOINERS = "\u200c\u200d"

_PLAIN = {
    **dict.fromkeys("‘’‚‛′", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−", "-"),
}
_CURLY = "‘’“”"
_ELLIPSIS, _NEWLINE, _RETURN, _BLANK, _DOT = 0x2026, 10, 13, 32, 46


@cache
def _form_table() -> np.ndarray:
    """uint8 [CODE_POINTS]: the flags of this module; read-only."""
    runs = zlib.decompress(base64.b85decode(_UNSURE_RUNS))
    count = len(runs) // 5
    table = np.repeat(np.frombuffer(runs, np.uint8, count, 4 * count), np.frombuffer(runs, "<u4", count))
    for first, last in _INVISIBLE_RANGES:
        table[first : last + 1] |= _INVISIBLE
    for characters, flag in ((_LINE_ENDS, _LINE_END), (_NO_BREAK_SPACES, _NO_BREAK), (_JOINERS, _JOINER)):
        table[[ord(character) for character in characters]] |= flag
    table.flags.writeable = False
    return table


@cache
def _plain_table(plain: bool | str) -> np.ndarray:
    """uint8 [CODE_POINTS]: the ASCII character that a typographic one becomes (a dot for the ellipsis), or 0."""
    table = np.zeros(CODE_POINTS, dtype=np.uint8)
    for character in _CURLY if plain == "curly" else _PLAIN if plain else ():
        table[ord(character)] = ord(_PLAIN[character])
    if plain is True:
        table[_ELLIPSIS] = _DOT
    table.flags.writeable = False
    return table


@kernel
def _put_in_order(data, offsets, table, forms, plain, simple, keep, unsure_flag):  # type: ignore[no-untyped-def]
    """(bytes, offsets, whether Unicode normalising may change the text); what comes out is never longer."""
    documents = len(offsets) - 1
    output = np.empty(len(data), dtype=np.uint8)
    bounds = np.zeros(documents + 1, dtype=np.int64)
    unsure = np.zeros(documents, dtype=np.bool_)
    put = 0
    for document in range(documents):
        start, at, stop = put, offsets[document], offsets[document + 1]
        content, newlines, kept, after_return, flagged = put, 0, True, False, np.uint8(0)
        gap = False  # since the content something was taken out that ``keep`` does not name
        while at < stop:
            if data[at] < 128 and simple[data[at]]:
                output[put] = data[at]
                put += 1
                at += 1
                content, newlines, after_return = put, 0, False
                continue
            code, width = decode(data, at)
            form = forms[code]
            first = at
            at += width
            if code == _NEWLINE or form & _LINE_END:
                joined = code == _NEWLINE and after_return
                after_return, kept, gap = code == _RETURN, True, False
                if content > start and not joined:
                    put = content + newlines  # what was white space since then ends here
                    if newlines < 2:
                        output[put] = _NEWLINE
                        put += 1
                        newlines += 1
                continue
            after_return = False
            if form & _INVISIBLE:
                continue
            flags = table[code]
            if flags & SPACE:
                kept = True
                if content == start or (gap and put > content):
                    continue
                if form & _NO_BREAK:
                    output[put] = _BLANK
                    put += 1
                    continue
            else:
                if keep:
                    kept = _is_kept(flags, form, keep, kept)
                    if not kept:
                        gap = True
                        continue
                    if gap and put == content > start:
                        output[put] = _BLANK
                        put += 1
                    gap = False
            flagged |= form
            replacement = plain[code]
            if replacement:
                for _ in range(3 if code == _ELLIPSIS else 1):
                    output[put] = replacement
                    put += 1
            else:
                for place in range(first, at):
                    output[put] = data[place]
                    put += 1
            if not flags & SPACE:
                content, newlines = put, 0
        put = content
        bounds[document + 1] = put
        unsure[document] = flagged & unsure_flag != 0
    return output[:put], bounds, unsure


@kernel
def _is_kept(flags, form, keep, kept_before):  # type: ignore[no-untyped-def]
    """Marks and joiners go with the character before them; an emoji is nothing else."""
    if flags & MARK or form & _JOINER:
        return kept_before
    if flags & EMOJI:
        return keep & EMOJI != 0
    if flags & (LETTER | NUMBER | PUNCTUATION):
        return keep & flags != 0
    return keep & SYMBOL != 0


@cache
def _simple_table(keep: int) -> np.ndarray:
    """bool [128]: the ASCII characters that are copied whatever stands around them."""
    classes, forms = character_table()[:128], _form_table()[:128]
    return (classes & SPACE == 0) & (forms == 0) & (keep == 0)


def put_in_order(texts: Texts, plain_quotes: bool | str, keep: int, unsure_flag: int) -> tuple[Texts, np.ndarray]:
    r"""``texts`` with plain line ends, no invisible characters, no blank edges; bool [n]: may not be in Unicode's form.

    Lines end in ``\n`` and not in white space, at most one blank line stands between two others. ``plain_quotes``: see
    ``CleaningSpec``. ``keep``: flags of the characters to keep (those of ``characters``, and ``SYMBOL``), 0 for all;
    white space stays, and what is taken out between two characters that stay, with the white space around it, leaves
    one space. ``unsure_flag``: ``NFC_UNSURE``, ``NFKC_UNSURE`` or 0. Applying it twice changes nothing more.
    """
    tables = (character_table(), _form_table(), _plain_table(plain_quotes), _simple_table(keep))
    data, offsets, unsure = _put_in_order(texts.data, texts.offsets, *tables, keep, unsure_flag)
    return Texts(data, offsets), unsure


def unseen() -> np.ndarray:
    """bool [CODE_POINTS]: what is taken out of every text, line ends aside."""
    return _form_table() & _INVISIBLE != 0


def plain_characters(plain_quotes: bool | str) -> dict[str, str]:
    """Typographic character → what it becomes."""
    table = _plain_table(plain_quotes)
    found = {chr(code): chr(table[code]) for code in np.flatnonzero(table)}
    return {character: 3 * plain if ord(character) == _ELLIPSIS else plain for character, plain in found.items()}


def unkept(keep: int) -> tuple[np.ndarray, np.ndarray]:
    """bool [CODE_POINTS] each: what is taken out where ``keep`` stays; what goes along with a character before it."""
    classes, joiner = character_table().astype(np.int32), _form_table() & _JOINER != 0
    along = (classes & MARK != 0) | joiner
    emoji, other = classes & EMOJI != 0, classes & (LETTER | NUMBER | PUNCTUATION)
    stays = np.where(emoji, keep & EMOJI != 0, np.where(other != 0, (other & keep) != 0, keep & SYMBOL != 0))
    return ~stays & ~along & (classes & SPACE == 0) & ~unseen(), along
