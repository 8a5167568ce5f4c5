"""What the pages in docs/ show: blocks of YAML, and rows of tables."""

import re
from pathlib import Path

from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from llm_core.store.home import PROJECT

MINIMAL = """
model: {d_model: 32, n_layers: 1, mixer: {kind: attention, n_heads: 2}, feed_forward: {kind: swiglu, d_ff: 64}}
training: {sequence_length: 16, batch_tokens: 64, tokens: 640, optimizer: {lr: 1e-3}}
"""


def page(name: str) -> str:
    return (PROJECT / "docs" / name).read_text(encoding="utf-8")


def blocks(name: str, section: str) -> list[str]:
    """The YAML of a page that begins with ``section:``."""
    found = re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL)
    return [block for block in found if block.startswith(f"{section}:")]


def rows(name: str) -> dict[str, str]:
    """First cell of every row of the tables of a page, where it is one name → the rest of the row."""
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page(name), re.MULTILINE))


def experiment(folder: Path, sections: str) -> Experiment:
    """A small experiment with ``sections``, from a file."""
    path = folder / "documented.yaml"
    path.write_text(MINIMAL + sections)
    return load_experiment(path)
