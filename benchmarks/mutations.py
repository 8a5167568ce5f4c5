"""Whether the code digest sees random changes of the code that runs: ``python -m benchmarks.mutations --count 300``.

The stages of the micro experiment of the tests run once under a profiler (``tests.assets.executed_code``). Then single
places of what ran are changed at random, in a copy of the project: a constant, an operator, a default, a statement. For
each change, the recipe of every stage that ran the definition must be another one, or the plan must be refused. What
stays the same must have an excuse:

- a mark: the definition is ``runtime_only``, or only marked code called it;
- words: it changed a docstring, or an argument of an exception or of a logging call;
- values: it is code of the experiment's sections, and all values that a stage gets to see came out the same.
"""

import argparse
import ast
import copy
import json
import operator
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from llm_core.graph.code_digest import CodeReader, text_digest
from llm_core.graph.code_text import written
from llm_core.graph.identity import code
from llm_core.loaded_code import PACKAGES, module_path
from llm_core.plugins import loaded_plugins
from llm_core.store.home import PROJECT
from tests.assets.executed_code import BY_VALUE, COUNTED, MARKED, UNDER
from tests.assets.executed_code import UNSEEN as NOWHERE
from tests.pipelines.conftest import make_world

SEEN, REFUSED, MARK, WORDS, VALUES, UNSEEN = "seen", "refused", "mark", "words", "values", "UNSEEN"
VERDICTS = (SEEN, REFUSED, MARK, WORDS, VALUES, UNSEEN)

_LOGS = {"log", "_log", "print", "debug", "info", "warn", "warning", "error", "exception", "critical"}
_SECTIONS = "llm_core.experiment."
_STRICTEST = (COUNTED, NOWHERE, BY_VALUE, UNDER, MARKED)
_SECONDS = 120  # in which a changed section must be read, or it counts as refused
_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_RECIPES = """
import json, sys
from pathlib import Path
from assets.graph import experiment_graph
from llm_core.experiment.load import load_experiment
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.identity import code, config
from llm_core.plugins import loaded_plugins
from llm_core.store.home import PROJECT
reader = CodeReader(PROJECT, plugins=loaded_plugins())
print(json.dumps({s.name: [code(s, reader), config(s)] for s in experiment_graph(load_experiment(Path(sys.argv[1])))}))
"""

Way = tuple[str | int, ...]
"""Fields and places in lists that lead from a module's tree to a node."""


@dataclass(frozen=True)
class Place:
    """A node that can be changed.

    ``name``: the top-level definition that it belongs to. ``words``: only people read it. ``by_value``: it is part of a
    section's fields, or of what checks and derives them. ``stages``: stage → how the definition counts there.
    """

    module: str
    name: str
    way: Way
    kind: str
    words: bool
    by_value: bool
    stages: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Judged:
    """What became of a change; ``change`` shows it, with file and line."""

    place: Place
    change: str
    verdict: str
    missing: tuple[str, ...]


# --- places --------------------------------------------------------------------------------------------------------


def places(executed: dict[str, dict[str, str]]) -> Iterator[Place]:
    """All places of all definitions that ran, and of the constants that they name."""
    ran: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for stage, states in executed.items():
        for definition, state in states.items():
            module, _, name = definition.partition(":")
            ran[module][name][stage] = state
    for module, definitions in sorted(ran.items()):
        tree = parsed(PROJECT, module)
        constants = {name: number for number, item in enumerate(tree.body) for name in _constants(item)}
        for number, statement in enumerate(tree.body):
            stages = definitions.get(getattr(statement, "name", ""), {})
            if stages:
                yield from _inside(module, statement, number, stages)
                for name, by_value in _named(statement, _by_value(module, statement)):
                    for stage, state in stages.items() if name in constants else ():
                        known, new = definitions[name].get(stage, MARKED), BY_VALUE if by_value else state
                        definitions[name][stage] = min(known, new, key=_STRICTEST.index)
        for name, number in constants.items():
            if definitions.get(name):
                yield from _inside(module, tree.body[number], number, definitions[name])


def _named(statement: ast.stmt, valued: set[int]) -> Iterator[tuple[str, bool]]:
    """The names in a statement, and whether they stand in what counts by value."""
    pending: list[tuple[ast.AST, bool]] = [(statement, False)]
    while pending:
        node, by_value = pending.pop()
        if isinstance(node, ast.Name):
            yield node.id, by_value
        pending.extend((inner, by_value or id(inner) in valued) for inner in ast.iter_child_nodes(node))


def _constants(statement: ast.stmt) -> list[str]:
    """What a plain assignment binds; a registry is a table of names, whose entries count by what they lead to."""
    if isinstance(statement, ast.Assign | ast.AnnAssign) and "Registry(" not in ast.unparse(statement):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def _inside(module: str, statement: ast.stmt, number: int, stages: dict[str, str]) -> Iterator[Place]:
    name = getattr(statement, "name", "") or _constants(statement)[0]
    said = _only_said(statement)
    valued = _by_value(module, statement)
    pending: list[tuple[Way, ast.AST, bool, bool]] = [(("body", number), statement, False, False)]
    while pending:
        way, node, words, by_value = pending.pop()
        words, by_value = words or id(node) in said, by_value or id(node) in valued
        for kind in CHANGES:
            if _change(node, kind) is not None:
                among = CHANGES[kind] is _order and {id(part) for part in getattr(node, "body", [])[-2:]} <= valued
                yield Place(module, name, way, kind, words, by_value or among, tuple(sorted(stages.items())))
        for field, value in ast.iter_fields(node):
            if field not in ("annotation", "returns"):  # types
                items = enumerate(value) if isinstance(value, list) else [(None, value)]
                for at, item in items:
                    if isinstance(item, ast.AST):
                        pending.append(((*way, field) if at is None else (*way, field, at), item, words, by_value))


def _by_value(module: str, statement: ast.stmt) -> set[int]:
    """The parts of a section that count by value: all but the methods that others call."""
    parts = statement.body if module.startswith(_SECTIONS) and isinstance(statement, ast.ClassDef) else []
    methods = [part for part in parts if isinstance(part, ast.FunctionDef)]
    called = {id(part) for part in methods if not part.decorator_list and not part.name.startswith("_")}
    return {id(part) for part in parts} - called


def _only_said(statement: ast.stmt) -> set[int]:
    """The nodes below which all is read by people only."""
    said: set[int] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            said.add(id(node.value))
        elif isinstance(node, ast.Assert) and node.msg is not None:
            said.add(id(node.msg))
        elif isinstance(node, ast.Call) and _tells(node, statement):
            said |= {id(given) for given in (*node.args, *node.keywords)}
    _add_variables(statement, said)
    return said


def _tells(call: ast.Call, statement: ast.stmt) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    alone = any(isinstance(node, ast.Expr) and node.value is call for node in ast.walk(statement))
    return name.endswith(("Error", "Warning")) or (alone and name in _LOGS)


def _add_variables(statement: ast.stmt, said: set[int]) -> None:
    """Add what is assigned to variables that only messages read."""
    below = {id(inner) for node in ast.walk(statement) if id(node) in said for inner in ast.walk(node)}
    read: dict[str, list[bool]] = defaultdict(list)
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            read[node.id].append(id(node) in below)
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            uses = read[node.targets[0].id]
            if uses and all(uses):
                said.add(id(node.value))


# --- changes -------------------------------------------------------------------------------------------------------


def _constant(node: ast.AST) -> ast.AST | None:
    if not isinstance(node, ast.Constant) or node.value in (None, ...) or isinstance(node.value, complex):
        return None
    value = node.value
    if isinstance(value, bool):
        return ast.Constant(not value)
    if isinstance(value, bytes):
        return ast.Constant(value + b"x")
    return ast.Constant(f"{value}x" if isinstance(value, str) else 2 * value + 1)


def _comparison(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Compare):
        node.ops[0] = _OTHER[type(node.ops[0])]()  # type: ignore[assignment]
        return node
    return None


def _operator(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        node.op = _OTHER[type(node.op)]()  # type: ignore[assignment]
        return node
    return node.operand if isinstance(node, ast.UnaryOp) else None


def _condition(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return node
    return None


def _deletion(node: ast.AST) -> ast.AST | None:
    gone = ast.Expr | ast.Assign | ast.AugAssign | ast.Raise | ast.If | ast.For | ast.Delete | ast.Assert | ast.Break
    return ast.Pass() if isinstance(node, gone) else None


def _returned(node: ast.AST) -> ast.AST | None:
    return ast.Return(None) if isinstance(node, ast.Return) and node.value is not None else None


def _default(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.arguments) and (node.defaults or any(node.kw_defaults)):
        values: list[Any] = node.defaults or node.kw_defaults
        at = next(number for number, value in enumerate(values) if value is not None)
        values[at] = _constant(values[at]) or ast.Constant(7)
        return node
    return None


def _arguments(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Call) and len(node.args) > 1 and written(node.args[0]) != written(node.args[1]):
        node.args[:2] = node.args[1::-1]
        return node
    return None


def _keyword(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Call) and node.keywords:
        node.keywords.pop()
        return node
    return None


def _decorator(node: ast.AST) -> ast.AST | None:
    marks = getattr(node, "decorator_list", [])
    if marks and "runtime_only" not in ast.unparse(marks[0]):
        marks.pop(0)
        return node
    return None


def _handler(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.ExceptHandler) and node.type is not None:
        node.type = ast.Name("KeyboardInterrupt", ast.Load())
        return node
    return None


def _name(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Attribute):
        node.attr = f"{node.attr}_"
        return node
    return None


def _order(node: ast.AST) -> ast.AST | None:
    """The last two statements of a body, the other way round."""
    body = getattr(node, "body", None)
    if not isinstance(body, list) or len(body) < 2 or not isinstance(node, ast.stmt):
        return None
    if _is_words(body[-2]) or _is_words(body[-1]) or written(body[-1]) == written(body[-2]):
        return None
    body[-2:] = body[:-3:-1]
    return node


def _is_words(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


CHANGES: dict[str, Callable[[ast.AST], ast.AST | None]] = {
    "a constant": _constant,
    "a comparison": _comparison,
    "an operator": _operator,
    "a condition, negated": _condition,
    "a statement, deleted": _deletion,
    "two statements, swapped": _order,
    "a returned value, dropped": _returned,
    "a default": _default,
    "two arguments, swapped": _arguments,
    "a keyword, dropped": _keyword,
    "a decorator, dropped": _decorator,
    "what is caught": _handler,
    "an attribute": _name,
}


def _change(node: ast.AST, kind: str) -> ast.AST | None:
    """The node changed, or None where the kind is not for it; ``node`` itself stays."""
    other = copy.copy(node)
    for field, value in ast.iter_fields(node):
        if isinstance(value, list):
            setattr(other, field, list(value))
    return CHANGES[kind](other)


def parsed(root: Path, module: str) -> ast.Module:
    """The tree of a module."""
    return ast.parse((root / module_path(root, module)).read_bytes())


def changed_text(tree: ast.Module, place: Place) -> tuple[str, str]:
    """(the module's text with the change, the change as people read it); changes ``tree``."""
    *before, last = place.way
    parent = reduce(_step, before, tree)
    old = _step(parent, last)
    new = _change(old, place.kind)
    assert new is not None
    line = next((node.lineno for node in ast.walk(old) if hasattr(node, "lineno")), "?")
    shown = f"{module_path(PROJECT, place.module)}:{line}, {place.name}: {_short(old)} → {_short(new)}"
    if isinstance(last, int):
        parent[last] = new
    else:
        setattr(parent, last, new)
    text = ast.unparse(ast.fix_missing_locations(tree))
    assert written(ast.parse(text)) == written(tree), shown
    return text, shown


def _step(node: Any, way: str | int) -> Any:
    return operator.getitem(node, way) if isinstance(way, int) else getattr(node, way)


def _short(node: ast.AST) -> str:
    lines = ast.unparse(node).splitlines() or [""]
    text = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1].strip()}"
    return f"`{text[:60]}{'…' if len(text) > 60 else ''}`"


# --- verdicts ------------------------------------------------------------------------------------------------------


class Judge:
    """A copy of the project, in which one place at a time is changed."""

    def __init__(self, experiment: Path, folder: Path) -> None:
        self._experiment = experiment
        self._root = Path(tempfile.mkdtemp(dir=folder))
        for package in PACKAGES:
            shutil.copytree(PROJECT / package, self._root / package, ignore=shutil.ignore_patterns("__pycache__"))
        self._graph = experiment_graph(load_experiment(experiment))
        self._code = self._codes([stage.name for stage in self._graph])
        self._recipes = self._fresh_recipes()

    def judge(self, place: Place) -> Judged:
        """Make the change, look at the recipes, and undo it."""
        path = self._root / module_path(self._root, place.module)
        source = path.read_bytes()
        text, shown = changed_text(parsed(self._root, place.module), place)
        path.write_text(text, encoding="utf-8")
        try:
            verdict, missing = self._verdict(place)
        finally:
            path.write_bytes(source)
        return Judged(place, shown, verdict, missing)

    def _verdict(self, place: Place) -> tuple[str, tuple[str, ...]]:
        states = dict(place.stages)
        by_value = place.module.startswith(_SECTIONS)
        before: dict[str, Any] = self._recipes if by_value else self._code
        try:
            now: dict[str, Any] = self._fresh_recipes() if by_value else self._codes(list(states))
        except (PedigreeError, subprocess.SubprocessError):
            return REFUSED, ()
        same = tuple(stage for stage in states if now[stage] == before[stage])
        missing = tuple(stage for stage in same if states[stage] not in (MARKED, UNDER))
        if not same:
            return SEEN, ()
        if not missing:
            return MARK, ()
        if place.words:
            return WORDS, ()
        if place.by_value or all(states[stage] == BY_VALUE for stage in missing):
            return VALUES, ()
        return UNSEEN, missing

    def _codes(self, names: list[str]) -> dict[str, dict[str, str]]:
        reader = CodeReader(self._root, plugins=loaded_plugins())
        return {name: code(self._graph[name], reader) for name in names}

    def _fresh_recipes(self) -> dict[str, Any]:
        """All recipes, as a new process reads them: with the values of the changed sections."""
        done = subprocess.run(
            [sys.executable, "-c", _RECIPES, str(self._experiment)],
            cwd=self._root,
            env={**os.environ, "PYTHONPATH": f"{self._root}{os.pathsep}{PROJECT}", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        recipes: dict[str, Any] = json.loads(done.stdout)
        return recipes


_judge: list[Judge] = []


def _begin(experiment: Path, folder: Path) -> None:
    _judge.append(Judge(experiment, folder))


def _judged(place: Place) -> Judged:
    return _judge[0].judge(place)


# --- the command ---------------------------------------------------------------------------------------------------


def chosen(found: list[Place], count: int, seed: int) -> list[Place]:
    """``count`` different places: a random kind each time, then a random place of that kind.

    A seed means the same places even where a few more definitions ran (what runs depends a little on the clock).
    """
    chance = random.Random(seed)
    drawn = sorted(found, key=lambda place: text_digest(f"{seed} {place.module} {place.way} {place.kind}".encode()))
    by_kind = {kind: [place for place in drawn if place.kind == kind] for kind in CHANGES}
    taken: list[Place] = []
    while len(taken) < count and any(by_kind.values()):
        taken.append(by_kind[chance.choice([kind for kind, left in by_kind.items() if left])].pop())
    return taken


def report(judged: list[Judged], total: int, seed: int, seconds: float) -> str:
    """The table by kind, and what has no or only a person's excuse, one line each."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in judged:
        counts[item.place.kind][item.verdict] += 1
        counts["all"][item.verdict] += 1
    lines = [f"{len(judged)} of {total} places that can be changed, seed {seed}, {seconds:.0f} s", ""]
    lines += [f"| changed | {' | '.join(VERDICTS)} |", f"|---|{'---|' * len(VERDICTS)}"]
    for kind in (*CHANGES, "all"):
        lines.append(f"| {kind} | {' | '.join(str(counts[kind][verdict]) for verdict in VERDICTS)} |")
    for verdict in (UNSEEN, WORDS, VALUES, MARK):
        found = [item for item in judged if item.verdict == verdict]
        if found:
            lines += ["", f"{verdict}:", ""]
        for item in sorted(found, key=lambda item: item.change):
            stages = f" ({', '.join(item.missing)})" if item.missing else ""
            lines.append(f"- {item.place.kind}: {item.change}{stages}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        world = make_world(folder)
        done = world.run("tests.assets.executed_code", str(world.experiment))
        if done.returncode:
            raise SystemExit(done.stderr)
        found = list(places(json.loads(done.stdout.splitlines()[-1])))
        started = time.monotonic()
        with ProcessPoolExecutor(options.workers, initializer=_begin, initargs=(world.experiment, folder)) as pool:
            judged = list(pool.map(_judged, chosen(found, options.count, options.seed)))
        print(report(judged, len(found), options.seed, time.monotonic() - started))
    return 1 if any(item.verdict == UNSEEN for item in judged) else 0


if __name__ == "__main__":
    sys.exit(main())
