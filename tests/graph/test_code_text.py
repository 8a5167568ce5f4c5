import ast

import pytest

from llm_core.graph.code_digest import text_digest
from llm_core.graph.code_text import written

# What ``ast.unparse`` and ``ast.dump`` write differently from version to version.
SAMPLE = r"""
def f(a, /, b: int = -1, *c, d=None, **e) -> "tuple[int, ...]":
    try:
        for x in *a, *b:
            yield x[(1, *c)], f"{x!r:>{d}}" "b" f"{'q'!s}" rf"\d{a=}" f"{x:}", lambda: (1, 2)
    except (OSError, ValueError):
        return {**e, None: ..., "é": 1e300, 1j: b"\0", '"': "'", "'\"": "\u200b"}
    match a:
        case [1, *_] | {"k": None, **rest} if rest:
            return f"{f'''{a['k']}'''}"
"""


def test_is_the_same_in_every_version_of_python() -> None:
    assert text_digest(written(ast.parse(SAMPLE)).encode()) == "318ee808e5d4848a91fe262e4040465a"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{**a}", "{None: a}"),
        ("None", "..."),
        ("1", "True"),
        ("1", "1.0"),
        ("0.0", "-0.0"),
        ("'1'", "b'1'"),
        ("f'{a}b'", "f'{a}{b}'"),
        ("f'{a!r}'", "f'{a}'"),
        ("f'{a:b}'", "f'{a:{b}}'"),
        ("(a, b)", "[a, b]"),
        ("a[1:]", "a[:1]"),
        ("f(*a)", "f(a)"),
        ("f(a=a)", "f(a)"),
        ("lambda a=1: a", "lambda *, a=1: a"),
        ("def f(a, *, b=None): pass", "def f(a, *, b): pass"),
        ("return", "return None"),
        ("x: int", "x: int = None"),
        ("import a.b", "import a.b as a"),
        ("from . import a", "from .. import a"),
        ("a.b = 1", "del a.b"),
        ("async def f(): pass", "def f(): pass"),
    ],
)
def test_tells_apart_what_is_not_the_same(one: str, other: str) -> None:
    assert written(ast.parse(one)) != written(ast.parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f'a' 'b' f'{c}'", "f'ab{c}'"),
        ("f'{c}' ''", "f'{c}'"),
        ("u'a'", "'a'"),
        ("(a)", "a"),
        ("x = (1,\n 2)", "x = 1, 2  # why"),
    ],
)
def test_spelling_is_nothing(one: str, other: str) -> None:
    assert written(ast.parse(one)) == written(ast.parse(other))
