# ruff: noqa: E501 (sources as texts)
"""Ways in which code reaches a result. Each changes one file so that the result changes; the digest must change too."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.code_digest import CodeReader, digest_of

REGISTRY = """
from importlib import import_module

def load_object(target):
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)

class Registry:
    def __init__(self, what, table):
        self.table = table

    def load(self, name):
        return load_object(self.table[name])
"""
ONE = "def f():\n    return 1\n"


class Case(NamedTuple):
    files: dict[str, str]
    where: str
    old: str = "return 1"
    new: str = "return 2"


CASES = {
    "helper": Case({"stage": "from proj.h import f\ndef build(): return f()", "h": ONE}, "h"),
    "import for its effect": Case(
        {
            "stage": "import proj.patch\nfrom proj.h import K\ndef build(): return K['a']",
            "h": "K = {'a': 1}",
            "patch": "from proj.h import K\nK['a'] = 3",
        },
        "patch",
        "= 3",
        "= 4",
    ),
    "an effect two imports away": Case(
        {
            "stage": "from proj.a import K\ndef build(): return K['a']",
            "a": "import proj.b\nfrom proj.h import K",
            "b": "import proj.c",
            "c": "from proj.h import K\nK['a'] = 3",
            "h": "K = {'a': 1}",
        },
        "c",
        "= 3",
        "= 4",
    ),
    "an import inside a function, for its effect": Case(
        {
            "stage": "from proj.h import K\ndef build():\n    import proj.patch\n    return K['a']",
            "h": "K = {'a': 1}",
            "patch": "from proj.h import K\nK['a'] = 3",
        },
        "patch",
        "= 3",
        "= 4",
    ),
    "the effect of a package": Case(
        {
            "stage": "from proj.sub.h import K\ndef build(): return K['a']",
            "sub/__init__": "import proj.table\nproj.table.K['a'] = 3",
            "sub/h": "from proj.table import K",
            "table": "K = {'a': 1}",
        },
        "sub/__init__",
        "= 3",
        "= 4",
    ),
    "registration by a decorator": Case(
        {
            "stage": "from proj.h import T\nimport proj.rules\ndef build(): return T['r']()",
            "h": "T = {}\ndef reg(f):\n    T[f.__name__] = f\n    return f",
            "rules": "from proj.h import reg\n@reg\ndef r(): return 1",
        },
        "rules",
    ),
    "registration by a decorator with arguments": Case(
        {
            "stage": "from proj.h import T\nimport proj.rules\ndef build(): return T['x']()",
            "h": "T = {}\ndef reg(name):\n    def inner(f):\n        T[name] = f\n        return f\n    return inner",
            "rules": "from proj.h import reg\n@reg('x')\ndef r(): return 1",
        },
        "rules",
    ),
    "registration through a helper": Case(
        {
            "stage": "from proj.h import T\nimport proj.rules\ndef build(): return T[0]()",
            "h": "T = []\ndef keep(f):\n    T.append(f)\ndef reg(f):\n    keep(f)\n    return f",
            "rules": "from proj.h import reg\n@reg\ndef r(): return 1",
        },
        "rules",
    ),
    "registration by a call": Case(
        {
            "stage": "from proj.h import T\nimport proj.rules\ndef build(): return T[0]",
            "h": "T = []\ndef add(x):\n    T.append(x)\n    return x",
            "rules": "from proj.h import add\nX = add(3)",
        },
        "rules",
        "add(3)",
        "add(4)",
    ),
    "registration by the making of an object": Case(
        {
            "stage": "from proj.h import T\nimport proj.rules\ndef build(): return T['a']",
            "h": "T = {}\nclass Rule:\n    def __init__(self, v):\n        T['a'] = v",
            "rules": "from proj.h import Rule\nRULE = Rule(3)",
        },
        "rules",
        "Rule(3)",
        "Rule(4)",
    ),
    "registration of subclasses": Case(
        {
            "stage": "from proj.h import T\nimport proj.s\ndef build(): return T[0]().f()",
            "h": "T = []\nclass B:\n    def __init_subclass__(cls):\n        T.append(cls)",
            "s": "from proj.h import B\nclass S(B):\n    def f(self): return 1",
        },
        "s",
    ),
    "registration by a metaclass": Case(
        {
            "stage": "from proj.h import T\nimport proj.s\ndef build(): return T[-1]().f()",
            "h": "T = []\nclass M(type):\n    def __init__(cls, *a):\n        T.append(cls)\nclass B(metaclass=M): pass",
            "s": "from proj.h import B\nclass S(B):\n    def f(self): return 1",
        },
        "s",
    ),
    "subclasses that are asked for": Case(
        {
            "stage": "from proj.h import B\nimport proj.s\ndef build(): return B.__subclasses__()[0]().f()",
            "h": "class B: pass",
            "s": "from proj.h import B\nclass S(B):\n    def f(self): return 1",
        },
        "s",
    ),
    "a loop that fills a table": Case(
        {
            "stage": "from proj.h import T\ndef build(): return T['a']",
            "h": "T = {}\nfor k in 'ab':\n    v = 1\n    T[k] = v",
        },
        "h",
        "v = 1",
        "v = 2",
    ),
    "a block that fills a table": Case(
        {
            "stage": "from proj.h import T\ndef build(): return T['a']",
            "h": "from contextlib import nullcontext\nT = {}\nwith nullcontext() as c:\n    x = 1\n    T['a'] = x",
        },
        "h",
        "x = 1",
        "x = 2",
    ),
    "an assignment with an effect": Case(
        {"stage": "from proj.h import T\ndef build(): return T['a']", "h": "T = {}\n_done = T.update(a=1)"},
        "h",
        "a=1",
        "a=2",
    ),
    "a walrus at import": Case(
        {"stage": "from proj.h import X\ndef build(): return X", "h": "if (X := 1):\n    pass"}, "h", ":= 1", ":= 2"
    ),
    "a patched class": Case(
        {"stage": "from proj.h import C\ndef build(): return C.k", "h": "class C:\n    k = 0\nC.k = 1"},
        "h",
        "= 1",
        "= 2",
    ),
    "a star import": Case({"stage": "from proj.h import *\ndef build(): return f()", "h": ONE}, "h"),
    "a star import of a star import": Case(
        {"stage": "from proj.g import *\ndef build(): return f()", "g": "from proj.h import *", "h": ONE}, "h"
    ),
    "a name that an import binds again": Case(
        {
            "stage": "from proj.h import f\ndef build(): return f()",
            "h": "def f(): return 0\nfrom proj.k import f",
            "k": ONE,
        },
        "k",
    ),
    "a module's own getattr": Case(
        {
            "stage": "from proj import h\ndef build(): return h.anything",
            "h": "def __getattr__(name):\n    return 1",
        },
        "h",
    ),
    "an annotated registry": Case(
        {
            "stage": "from proj.r import R\ndef build(name='a'): return R.load(name)()",
            "r": "from proj.registry import Registry\nR: Registry = Registry('x', {'a': 'proj.h:f'})",
            "h": ONE,
            "registry": REGISTRY,
        },
        "h",
    ),
    "a registry of a module": Case(
        {
            "stage": "from proj.r import R\ndef build(name='a'): return R.load(name)()",
            "r": "from proj import registry\nR = registry.Registry('x', {'a': 'proj.h:f'})",
            "h": ONE,
            "registry": REGISTRY,
        },
        "h",
    ),
    "an entry that code names": Case(
        {
            "stage": "from proj.r import R\ndef build(): return R.load('b')()",
            "r": "from proj.registry import Registry\nR = Registry('x', {'a': 'proj.g:f', 'b': 'proj.h:f'})",
            "g": "def f(): return 0",
            "h": ONE,
            "registry": REGISTRY,
        },
        "h",
    ),
    "an address in a text": Case(
        {
            "stage": "from proj.registry import load_object\nF = 'proj.h:f'\ndef build(): return load_object('proj.h:f')()",
            "h": ONE,
            "registry": REGISTRY,
        },
        "h",
    ),
    "a module by its name": Case(
        {"stage": "import sys, proj.h\ndef build(): return sys.modules['proj.h'].f()", "h": ONE}, "h"
    ),
    "a module that another process runs": Case(
        {
            "stage": "import subprocess, sys\ndef build():\n"
            "    return subprocess.run([sys.executable, '-m', 'proj.h'], capture_output=True).stdout",
            "h": "def f():\n    return 1\nif __name__ == '__main__':\n    print(f())",
        },
        "h",
    ),
    "getattr on a module": Case({"stage": "import proj.h as y\ndef build(): return getattr(y, 'f')()", "h": ONE}, "h"),
    "a module under another name": Case(
        {"stage": "import proj.h\ny = proj.h\ndef build(): return y.f()", "h": ONE}, "h"
    ),
    "the globals of a module": Case({"stage": "def build(): return globals()['f']()\ndef f():\n    return 1"}, "stage"),
    "an annotation that is a text": Case(
        {
            "stage": "from proj.h import make\nfrom proj.c import C\ndef use(x: 'C'): return x.f()\ndef build(): return use(make())",
            "h": "def make():\n    import proj.c\n    return proj.c.C()",
            "c": "class C:\n    def f(self): return 1",
        },
        "c",
    ),
    "a docstring that code reads": Case(
        {"stage": "from proj.h import f\ndef build(): return f.__doc__", "h": "def f():\n    '''one'''"},
        "h",
        "one",
        "two",
    ),
    "a data file beside the module": Case(
        {
            "stage": "from pathlib import Path\ndef build(): return (Path(__file__).parent / 'd.txt').read_text()",
            "d.txt": "1",
        },
        "d.txt",
        "1",
        "2",
    ),
    "a data file in a folder that has a name": Case(
        {
            "stage": "from pathlib import Path\nHERE = Path(__file__).parent\ndef build(): return (HERE / 'd.txt').read_text()",
            "d.txt": "1",
        },
        "d.txt",
        "1",
        "2",
    ),
    "data files by a pattern": Case(
        {
            "stage": "from pathlib import Path\n"
            "def build(): return [p.read_text() for p in Path(__file__).parent.glob('*.txt')]",
            "d.txt": "1",
        },
        "d.txt",
        "1",
        "2",
    ),
    "a default argument": Case(
        {"stage": "from proj.h import g\ndef build(): return g()", "h": "K = 1\ng = lambda x=K: x"},
        "h",
        "K = 1",
        "K = 2",
    ),
    "a definition in match": Case(
        {
            "stage": "from proj.h import f\ndef build(): return f()",
            "h": "match 1:\n    case 1:\n        def f(): return 1",
        },
        "h",
    ),
    "a definition in else of try": Case(
        {
            "stage": "from proj.h import f\ndef build(): return f()",
            "h": "try:\n    import json\nexcept ImportError:\n    pass\nelse:\n    def f(): return 1",
        },
        "h",
    ),
    "a value in an exception that is caught": Case(
        {
            "stage": "from proj.h import f, CarryError\ndef build():\n    try:\n        f()\n    except CarryError as e:\n"
            "        return e.value",
            "h": "class CarryError(Exception):\n    def __init__(self, value):\n        self.value = value\n"
            "def f():\n    raise CarryError(1)",
        },
        "h",
        "CarryError(1)",
        "CarryError(2)",
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    (root / "proj").mkdir(exist_ok=True)
    (root / "proj/__init__.py").touch()
    for name, text in files.items():
        path = root / "proj" / (name if "." in name else f"{name}.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")


def digest(root: Path) -> str:
    return digest_of(CodeReader(root, ("proj",)).digests(["proj.stage:build"], frozenset({"a"})))


def result(root: Path) -> str:
    code = "import proj.stage as s; print(repr(s.build()))"
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    ).stdout


@pytest.mark.parametrize("name", CASES)
def test_what_changes_the_result_changes_the_digest(name: str, root: Path) -> None:
    case = CASES[name]
    write(root, case.files)
    before = digest(root)
    assert digest(root) == before
    assert case.old in case.files[case.where]
    write(root, {case.where: case.files[case.where].replace(case.old, case.new)})
    assert digest(root) != before


@pytest.mark.parametrize("name", CASES)
def test_the_cases_do_change_the_result(name: str, root: Path) -> None:
    case = CASES[name]
    write(root, case.files)
    before = result(root)
    write(root, {case.where: case.files[case.where].replace(case.old, case.new)})
    assert result(root) != before


@pytest.mark.parametrize(
    ("stage", "line", "message"),
    [
        (
            "from importlib import import_module\ndef build(x='h'):\n    return import_module('proj.' + x).f()",
            3,
            "import_module",
        ),
        ("def build(x='1'):\n    return eval(x)", 2, "eval"),
        ("def build(x='1'):\n    exec(x)", 2, "exec"),
        (
            "from pathlib import Path\ndef build(x='d'):\n    return (Path(__file__).parent / x).read_text()",
            3,
            "data files",
        ),
        (
            "from importlib.resources import files\ndef build(x='d'):\n    return (files('proj') / x).read_text()",
            3,
            "data files",
        ),
    ],
)
def test_what_can_not_be_followed_is_refused_with_its_line(stage: str, line: int, message: str, root: Path) -> None:
    write(root, {"stage": stage})
    with pytest.raises(PedigreeError, match=rf"stage\.py, line {line}: .*{message}"):
        digest(root)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('raise PedigreeError(f"{path}: a word")', 'raise PedigreeError(f"{path}: another word, {path.name}")'),
        ('raise ValueError("a word")', 'raise ValueError("other words")'),
        ('log(f"a word {path}")', 'log(f"{path}")'),
        ('self.log("a word")', 'self.log("words", 3)'),
        ('print("a word")', 'print("another", "word")'),
        ('assert path, "a word"', 'assert path, "another"'),
        ('text = "a word"\n    raise OSError(text)', 'text = "another word"\n    raise OSError(text)'),
        ('error = KeyError("a word")\n    raise error', 'error = KeyError("another")\n    raise error'),
        ('warnings.warn("a word")', 'warnings.warn(f"another {path}", stacklevel=2)'),
        ('raise CarryError("a word", 3)', 'raise CarryError("another", 3)'),
    ],
)
def test_words_of_messages_change_nothing(old: str, new: str, root: Path) -> None:
    before = f"class CarryError(Exception):\n    def __init__(self, *a): ...\ndef build(path=0, log=print, self=0):\n    {old}"
    write(root, {"stage": before})
    first = digest(root)
    write(root, {"stage": before.replace(old, new)})
    assert digest(root) == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("log(items.pop())", "log(items.pop(0))"),
        (
            "text = 'a'\n    if path: raise OSError(text)\n    return text",
            "text = 'b'\n    if path: raise OSError(text)\n    return text",
        ),
        ("raise StopIteration(1)", "raise StopIteration(2)"),
        ("raise KeyError(1)", "raise OSError(1)"),
        ("x = log('a')", "x = log('b')"),
    ],
)
def test_what_only_looks_like_a_message_counts(old: str, new: str, root: Path) -> None:
    before = f"def build(path=0, log=print, items=[]):\n    {old}"
    write(root, {"stage": before})
    first = digest(root)
    write(root, {"stage": before.replace(old, new)})
    assert digest(root) != first
