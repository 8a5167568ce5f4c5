import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data.redactions.phones.numbers import PHONE
from llm_core.data.redactions.pieces import EMAIL, IP, IPV6
from llm_core.registries import REDACTIONS

CASES = [
    ("citations", "so it is[1][23].[edit] [citation needed] [a] x[]", "so it is.  [a] x", 5),
    (
        "emails",
        "To: ann.o'hara+x@mail.example.co.uk, b@c (no), @home, d@e.f1",
        f"To: {EMAIL}, b@c (no), @home, d@e.f1",
        1,
    ),
    ("public_ips", "8.8.8.8, 10.0.0.1 192.168.1.1 1.2.3.4.", f"{IP}, 10.0.0.1 192.168.1.1 {IP}.", 2),
    (
        "public_ips",
        "1.2.3, 1.2.3.4.5, 300.1.1.1, 01.02.03.04, v1.2.3.4",
        "1.2.3, 1.2.3.4.5, 300.1.1.1, 01.02.03.04, v1.2.3.4",
        0,
    ),
    ("ips", "10.0.0.1:80", f"{IP}:80", 1),
    ("ips", "é fe80::1%eth0, [2001:4860::8888]:443", f"é {IPV6}, [{IPV6}]:443", 2),
    ("phones", "Call (212) 736-5000 or 212-736-5000.", f"Call {PHONE} or {PHONE}.", 2),
    ("phones", "+44 20 7946 0958, +1-212-736-5000", f"{PHONE}, {PHONE}", 2),
    ("phones", "2024-11-20, 1999 2000, 1234567890, 12.345.6789", "2024-11-20, 1999 2000, 1234567890, 12.345.6789", 0),
]

# Written as people of many regions write them; "|" marks the number where there is more.
PHONES = """
+442079460958
+14155550171
+49 (0)30 1234567
+49.30.1234567
|(+44) 20 7946 0958|
(|+44 20 7946 0958|)
(|020 7946 0958|)
0044 20 7946 0958
011 44 20 7946 0958
tel:|+14155550171|
(212) 736-5000
(|847-550-3747|).
212.736.5000
212 736 5000
212\u00a0736\u00a05000
212\u2011736\u20115000
1-212-736-5000
1 (212) 736-5000
(416) 736-5000
020 7946 0958
(020) 7946 0958
07400 123456
030 1234567
030/1234567
030 / 123 45 67
0176 12345678
01 42 68 53 00
01.42.68.53.00
912 34 56 78
06 1234 5678
347 123 4567
020-1234567
06 12345678
(02) 9374 4000
0412 345 678
098765 43210
(11) 96123-4567
03-1234-5678
电话|03-1234-5678|
044 668 18 00
01 5123456
12 345 67 89
tel. |512 345 678|
08-12 34 56
55 1234 5678
Call |2127365000| now
|212-736-5000| x12
|+1-212-736-5000| ext. 12
T: |030 123456|
on 12 |212-736-5000|
""".strip().splitlines()

NO_PHONES = """
pages 100-200-3000
pp. 1024-1031
pp. 212-736-5000
Table 123 456 7890
table 2 212 736 5000
+10 15 20 25 points
ISBN 978 030 640 6157
ISBN 0-306-40615-2
ISBN 0306406152
ISBN: 030 640 6152
978-0-306-40615-7
0-306-40615-2
ISSN 0317-8471
0317-8471
4111 1111 1111 1111
4111-1111-1111-1111
4691-0032-6843-2588
p. 3582-3594
USD 1 800 629 958
2021-05-03
2021-05-03 10:30:00
03.05.2021
03/05/2021
(09/21/1896 - 04/14/2011)
12:30:45
51.507400 -0.127800
version 10.0.19041.1
$1 234 567 890
1,234,567,890
1 234 567 890
10.1038/s41586-020-2649-2
192.168.100.200
52.85.89.67
order no. 212-736-5000
invoice #212-736-5000
1999 2000
2021 2022 2023
998 999 1000
01 02 03 04 05 06 07
212 736 5000 12 33 44
737-300/500
55/60/65/70/75
0.7233/0.6152
(237442) 1999
362 (6418). 1014
"mobile": 213920363
1234567890
0123456789
123-45-6789
""".strip().splitlines()

PUBLIC = """
http://|8.8.4.4|/
at |8.8.8.8|:53
ping |1.2.3.4|
host dns.google/|8.8.8.8|
(|93.184.216.34|)
Server: |93.184.216.34|, |93.184.216.35|
|2001:4860:4860::8888|
|2001:4860:4860:0:0:0:0:8888|.
[|2001:4860:4860::8888|]:443
|2001:4860:4860::8844|/32
|::ffff:8.8.8.8|
|2a00:1450:4001:81b::200e|: that one
logs: |45.12.3.4| and |23.94.5.117|
|5.9.2.1|:8080
|5.9.2.0|/24 is routed
|5.9.2.1| - - [10/Oct/2020:13:55:36]
login from |5.9.2.1|
a reader at |93.184.216.34|
a reader in |93.184.216.34|
messages moved away from |5.9.2.1|
""".strip().splitlines()

NOT_PUBLIC = """
version 2.0.0.1
Firefox/5.0.1.2
v1.2.3.4
section 1.2.3.4
Section 4.2.2.13
OID 1.3.6.1
1.3.6.1
1.3.6.1.4.1.311
EC 2.7.4.16
from version 1.3.222.29 to 2.0.222.39
com.docs-2.0.222.39
the formula 2.1.3.3
numpy 1.26.4.0
Skype 8.96.0.207
GNOME 3.38.4.1
Adobe Reader XI 11.0.23.22
Acrobat DC (15.23.20.53)
Firefox ESR 60.14.12.11
iOS 16.1.2.3
jquery (3.6.0.12)
see 4.1.2.11
an update from 4.12.14.2 to 4.12.14.3
Update to 11.0.2.7 now
2.3.1.10/2.3.1.11
a 4.1.2.1 Title
10.0.0.1 and 127.0.0.1
fe80::1%eth0 fc00::1 ff02::1
2001:db8::1
::ffff:10.0.0.1
::1
::
12:30:45
1:2:3
16:9
00:1a:2b:3c:4d:5e
00:11:22:33:44:55:66:77
std::vector
a::b
abc::def
dead:beef:cafe
Add::cafe()
0000: 48 65 6c 6c
""".strip().splitlines()

EMAILS = """
|joé@b.com|
|jose@exámple.com|
|user@xn--bcher-kva.example|
|müller@bücher.example|.
|ann+news@a.b.example.org|,
<|ann@example.org|>
mailto:|ann@example.org|?subject=x
https://x.example/?email=|ann@example.org|&a=1
**|ann@example.org|**
_|ann@example.org|_
|用户@例子.公司|
|иван@почта.рф|
邮箱|joe@example.com|谢谢
|a@b.co|,|c@d.co|
|ann@example.org|.2021
|ann@example.org|: she
""".strip().splitlines()

NO_EMAILS = """
git@github.com:a/b.git
git@github.com:b.git
ssh://git@github.com/a/b
joe@host.example.org:/tmp/x
@handle
a@b
user@localhost
@app.route
numpy@1.2.3
react@18.0.0-rc.next
logo@2x.png
q@k.transpose(1, 2)
q@k.T
a.@example.org
""".strip().splitlines()


def redacted(name, line, **options):
    column, counts = REDACTIONS.load(name)(**options).redacted(pl.Series("text", [line]))
    return column[0], counts[0]


@pytest.mark.parametrize(("name", "text", "expected", "count"), CASES)
def test_examples(name, text, expected, count):
    redacted, counts = REDACTIONS.load(name)().redacted(pl.Series("text", ["nothing here", text]))
    assert redacted.to_list() == ["nothing here", expected]
    assert counts.to_list() == [0, count]


def test_every_redaction_has_an_example():
    assert {name for name, *_ in CASES} == set(REDACTIONS)


@pytest.mark.parametrize(
    ("name", "lines", "replacements"),
    [
        ("phones", PHONES, [PHONE]),
        ("public_ips", PUBLIC, [IP, IPV6]),
        ("ips", PUBLIC, [IP, IPV6]),
        ("emails", EMAILS, [EMAIL]),
    ],
)
def test_what_goes(name, lines, replacements):
    for line in lines:
        pieces = line.split("|") if "|" in line else ["", line, ""]
        text, count = redacted(name, "".join(pieces))
        for replacement in replacements:
            text = text.replace(replacement, "<>")
        assert (text, count) == ("<>".join(pieces[::2]), len(pieces) // 2), line


@pytest.mark.parametrize(("name", "lines"), [("phones", NO_PHONES), ("public_ips", NOT_PUBLIC), ("emails", NO_EMAILS)])
def test_what_stays(name, lines):
    for line in lines:
        for text in (line, f"It is {line} here.", f"It is {line},"):
            assert redacted(name, text) == (text, 0)


@pytest.mark.parametrize(
    ("name", "line", "new"),
    [
        ("phones", "212 736 5000", PHONE),
        ("ips", "93.184.216.34", IP),
        ("ips", "2a00:1450::200e", IPV6),
        ("emails", "a@b.co", EMAIL),
    ],
)
def test_places_are_told_in_texts_of_all_lengths(name, line, new):
    texts = ["é" * 100 + f" {line} ", "", "中", f"word\n{line}\n{line}"]
    column, counts = REDACTIONS.load(name)().redacted(pl.Series("text", texts))
    assert column.to_list() == [text.replace(line, new) for text in texts]
    assert counts.to_list() == [1, 0, 0, 2]


def test_only_numbers_of_the_regions_are_known_in_national_form():
    assert redacted("phones", "020 7946 0958", regions=("GB",)) == (PHONE, 1)
    assert redacted("phones", "020 7946 0958", regions=("US",))[1] == 0
    assert redacted("phones", "(416) 736-5000", regions=("US",)) == (PHONE, 1)  # +1 is one numbering plan
    assert redacted("phones", "tel 32 12 34 56", regions=("DK",)) == (f"tel {PHONE}", 1)
    assert redacted("phones", "+442079460958", regions=()) == (PHONE, 1)
    assert redacted("phones", "(212) 736-5000", regions=())[1] == 0


@pytest.mark.parametrize("name", REDACTIONS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("[]1279.+-() @aé\n:/f"), max_size=60))
def test_what_is_taken_out_is_gone(name, text):
    redact = REDACTIONS.load(name)().redacted
    once, counts = redact(pl.Series("text", [text]))
    assert (once[0] != text) <= (counts[0] > 0)
    if name != "citations":  # what is left of [[1]] is one
        assert redact(once)[0].to_list() == once.to_list()


@pytest.mark.parametrize("name", REDACTIONS)
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40), other=st.text(max_size=40))
def test_texts_do_not_touch_each_other(name, text, other):
    redact = REDACTIONS.load(name)().redacted
    column, counts = redact(pl.Series("text", [text, other]))
    alone = [redact(pl.Series("text", [one])) for one in (text, other)]
    assert column.to_list() == [one[0] for one, _ in alone]
    assert counts.to_list() == [one[0] for _, one in alone]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        *(("phones", pattern) for pattern in ("1", "12 ", "1-", "0-", "00-", "(1", "+1", "030/", "212-736-5000 ")),
        *(("ips", pattern) for pattern in ("1.", "a:", "::", "8.8.8.8:", "2001:db8::1 ", "fe80::1%")),
        *(("emails", pattern) for pattern in ("@", "a", "a@", "a-", "a@b.co:", "a@b.", "@a-", "例@例.例")),
    ],
)
def test_time_is_linear(name, pattern):
    """A quadratic search of these 100 kB would take tens of seconds; what is built here takes at most 2 seconds."""
    text = pattern * (100_000 // len(pattern))
    start = time.process_time()
    REDACTIONS.load(name)().redacted(pl.Series("text", [text]))
    assert time.process_time() - start < 15
