"""What ``runtime_only`` marks is outside of every identity; so each mark stands in a list that people review."""

import ast
from collections.abc import Iterator
from pathlib import Path

from llm_core.graph.code_base import CodeBase
from llm_core.loaded_code import PACKAGES
from llm_core.store.home import PROJECT

REVIEWED = Path(__file__).with_name("runtime_only.txt")


def marks() -> Iterator[str]:
    """``module:definition: reason`` of every mark in the project, those of methods too."""
    code = CodeBase(dict.fromkeys(PACKAGES, PROJECT), (), {})
    for path in sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        module = code.module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        assert module is not None
        for name, statements in module.definitions.items():
            for statement in statements:
                if code.is_marked(module, statement):
                    assert isinstance(statement, ast.FunctionDef | ast.ClassDef)
                    yield f"{module.name}:{name}: {reason(statement) or 'by a class that it derives from'}"
                for method in statement.body if isinstance(statement, ast.ClassDef) else ():
                    if isinstance(method, ast.FunctionDef) and code.is_marked(module, method):
                        assert code.is_spec(module, statement), f"{name}.{method.name}: only of sections do marks count"
                        yield f"{module.name}:{name}.{method.name}: {reason(method)}"


def reason(marked: ast.FunctionDef | ast.ClassDef) -> str:
    """What the mark says; nothing for one that is inherited."""
    calls = [mark for mark in marked.decorator_list if isinstance(mark, ast.Call)]
    reasons = [ast.literal_eval(call.args[0]) for call in calls if call.args]
    return str(reasons[0]) if reasons else ""


def test_every_mark_is_reviewed() -> None:
    found, reviewed = set(marks()), set(REVIEWED.read_text(encoding="utf-8").splitlines())
    new, gone = sorted(found - reviewed), sorted(reviewed - found)
    assert not new, (
        "These marks are not in the reviewed list. A marked definition, and what only it reaches, is in "
        "no identity: make sure that nothing in it can change a file or a statistic of an artifact, and add\n\n"
        + "\n".join(new)
        + f"\n\nto {REVIEWED.relative_to(PROJECT)}"
    )
    assert not gone, f"{REVIEWED.relative_to(PROJECT)} lists marks that are no longer there; remove\n\n" + "\n".join(
        gone
    )


def test_the_list_is_sorted() -> None:
    lines = REVIEWED.read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))
