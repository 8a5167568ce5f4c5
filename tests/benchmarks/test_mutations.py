import ast

import pytest

from benchmarks.mutations import CHANGES, MARK, REFUSED, SEEN, UNSEEN, VALUES, WORDS, Judge, Place, chosen, places
from benchmarks.mutations import _change as change
from tests.assets.executed_code import BY_VALUE, COUNTED, MARKED
from tests.pipelines.conftest import make_world

SAMPLES = {
    "a constant": ("x = 0.5", "x = 2.0"),
    "a comparison": ("a < b", "a >= b"),
    "an operator": ("a + b", "a - b"),
    "a condition, negated": ("if a:\n    b", "if not a:\n    b"),
    "a statement, deleted": ("a = b", "pass"),
    "two statements, swapped": ("def f():\n    'Words.'\n    a\n    b", "def f():\n    'Words.'\n    b\n    a"),
    "a returned value, dropped": ("return a", "return"),
    "a default": ("def f(a, b=1): pass", "def f(a, b=3): pass"),
    "two arguments, swapped": ("f(a, b, c)", "f(b, a, c)"),
    "a keyword, dropped": ("f(a, b=c)", "f(a)"),
    "a decorator, dropped": ("@a\ndef f(): pass", "def f(): pass"),
    "what is caught": ("try:\n    a\nexcept B:\n    c", "try:\n    a\nexcept KeyboardInterrupt:\n    c"),
    "an attribute": ("a.b", "a.b_"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_each_kind_changes_one_place(kind: str) -> None:
    before, after = SAMPLES[kind]
    tree = ast.parse(before)
    found = [(node, new) for node in ast.walk(tree) if (new := change(node, kind)) is not None]
    assert ast.unparse(tree) == ast.unparse(ast.parse(before))
    old, new = found[0]

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    assert ast.unparse(ast.fix_missing_locations(Put().visit(tree))) == ast.unparse(ast.parse(after))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("world")
    return Judge(make_world(folder).experiment, folder)


def place(definition: str, state: str, stage: str, kind: str, words: bool = False) -> Place:
    found = places({stage: {definition: state}})
    return next(
        item
        for item in found
        if f"{item.module}:{item.name}" == definition and (item.kind, item.words) == (kind, words)
    )


@pytest.mark.parametrize(
    ("definition", "state", "stage", "kind", "words", "verdict"),
    [
        ("llm_core.train.loop:_train", COUNTED, "pretrained_model", "an attribute", False, SEEN),
        ("llm_core.train.loop:_train", COUNTED, "tokenizer", "an attribute", False, UNSEEN),
        ("llm_core.train.main:main", MARKED, "pretrained_model", "an attribute", False, MARK),
        ("llm_core.train.loop:train", COUNTED, "pretrained_model", "a constant", True, WORDS),
        ("llm_core.experiment.dedup:MinHashSpec", BY_VALUE, "unique_documents", "a decorator, dropped", False, VALUES),
        ("llm_core.experiment.dedup:MinHashSpec", BY_VALUE, "unique_documents", "an operator", False, SEEN),
        (
            "llm_core.experiment.load:load_experiment",
            BY_VALUE,
            "tokenizer",
            "a returned value, dropped",
            False,
            REFUSED,
        ),
    ],
)
def test_verdicts(judge: Judge, definition: str, state: str, stage: str, kind: str, words: bool, verdict: str) -> None:
    assert judge.judge(place(definition, state, stage, kind, words)).verdict == verdict


def test_the_choice_follows_from_the_seed() -> None:
    found = list(places({"tokenizer": {"llm_core.train.loop:_train": COUNTED}}))
    assert chosen(found, 20, 1) == chosen(found, 20, 1) != chosen(found, 20, 2)
    assert len(set(chosen(found, 20, 1))) == 20
