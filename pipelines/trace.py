"""``pedigree why``: the documents behind a step or a score."""

from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from llm_core.errors import PedigreeError
from llm_core.graph.lineage import Ancestor, ancestry, by_name, training_run
from llm_core.graph.price import duration
from pipelines.session import Session


def step_rows(session: Session, run: str, step: int) -> list[dict[str, Any]]:
    """The pieces of documents in a batch, one row each, in batch order."""
    from llm_core.tokens.trace import documents_of_step, training_section

    found = training_run(session.store, session.experiment.name, _local(session, run))
    training = training_section(found.config["training"])
    if not 1 <= step <= training.steps:
        raise PedigreeError(f"{found.stage} has the steps 1 to {training.steps}; there is no step {step}")
    return [vars(item) for item in documents_of_step(found.shards, step, training, found.config["seed"])]


def step_table(run: str, step: int, rows: list[dict[str, Any]]) -> Table:
    """The rows as a table."""
    documents = len({row["doc_id"] for row in rows})
    title = f"{run}, step {step}: {documents} documents in {rows[-1]['sequence'] + 1} sequences"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    masked = any(row["targets"] != row["tokens"] for row in rows)
    numbered = ("sequence", "tokens", *(["targets"] if masked else []), "shard", "token_start")
    for name in numbered:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("source")
    table.add_column("origin", overflow="fold")
    table.add_column("row", justify="right")
    table.add_column("document", no_wrap=True)
    for row in rows:
        place = (row["source"], escape(row["origin"]), str(row["row"]), row["doc_id"][:12])
        numbers = (row[name] for name in numbered)
        table.add_row(*(f"{number:,}" for number in numbers), *place)
    return table


def score(session: Session, what: str) -> tuple[list[dict[str, Any]], Ancestor]:
    """The rows of evals for ``what`` (task, or task/metric), and the lineage of their artifact.

    For a stage or an identity instead of a score: its lineage, and no rows.
    """
    from llm_core.store.views import open_views

    task, _, metric = what.partition("/")
    latest = session.store.last_identity(session.experiment.name, "eval_results")
    with open_views(session.store.root) as connection:
        rows = connection.execute(
            "SELECT task, metric, value, low, high, n, identity FROM evals "
            "WHERE identity = ? AND task = ? AND (? = '' OR metric = ?)",
            [latest, task, metric, metric],
        ).fetchall()
        known = connection.execute(
            "SELECT DISTINCT task || '/' || metric AS score FROM evals WHERE identity = ? ORDER BY score", [latest]
        ).fetchall()
    names = ("task", "metric", "value", "low", "high", "n", "identity")
    scores = [dict(zip(names, row, strict=True)) for row in rows]
    try:
        name = scores[0]["identity"] if scores else _local(session, what)
        return scores, ancestry(session.store, by_name(session.store, session.experiment.name, name))
    except PedigreeError as error:
        raise PedigreeError(f"{error}\nknown scores: {', '.join(row[0] for row in known) or 'none yet'}") from None


def tree(scores: list[dict[str, Any]], ancestor: Ancestor) -> Tree:
    """The lineage as a tree. An artifact that occurs twice is expanded only once."""
    root = Tree(_line(ancestor), guide_style="dim")
    for row in scores:
        likely = f", 95% interval {row['low']:.4f} to {row['high']:.4f}" if row["low"] is not None else ""
        root.add(f"[bold]{row['task']}/{row['metric']} = {row['value']:.4f}[/]{likely} (n = {row['n']:,})")
    seen: set[str] = set()

    def add(branch: Tree, below: Ancestor) -> None:
        identity = below.artifact.manifest.identity
        if identity in seen:
            branch.add(f"[dim]{below.artifact.manifest.stage} {identity[:12]}, as above[/]")
            return
        seen.add(identity)
        grow(branch.add(_line(below)), below)

    def grow(branch: Tree, item: Ancestor) -> None:
        for below in item.inputs:
            add(branch, below)
        for record, gate in item.gates:
            twig = branch.add(escape(str(record)))
            if gate is None:
                twig.add("[dim]the artifact of the gate is no longer in the store[/]")
            else:
                add(twig, gate)
        source_digests = item.artifact.manifest.source_digests
        if source_digests:
            names = ", ".join(f"{name} {digest[:12]}" for name, digest in list(source_digests.items())[:4])
            more = f" and {len(source_digests) - 4} more" if len(source_digests) > 4 else ""
            branch.add(f"[dim]sources: {escape(names)}{more}[/]")
        if origin := item.artifact.stats.get("origin"):
            branch.add(f"[dim]from: {escape(', '.join(f'{name} {value}' for name, value in origin.items()))}[/]")

    grow(root, ancestor)
    return root


def tree_record(scores: list[dict[str, Any]], ancestor: Ancestor) -> dict[str, Any]:
    """Scores and lineage as JSON data."""

    def record(item: Ancestor) -> dict[str, Any]:
        manifest = item.artifact.manifest
        return {
            "role": item.role,
            "stage": manifest.stage,
            "kind": manifest.kind,
            "identity": manifest.identity,
            "content": manifest.content,
            "path": str(item.artifact.path),
            "started": manifest.started,
            "git_commit": manifest.git_commit,
            "source_digests": manifest.source_digests,
            "inputs": [record(below) for below in item.inputs],
            "gates": [
                {**gate.model_dump(mode="json"), "lineage": below and record(below)} for gate, below in item.gates
            ],
        }

    return {"scores": scores, "lineage": record(ancestor)}


def _line(item: Ancestor) -> str:
    manifest = item.artifact.manifest
    commit = (
        f", commit {manifest.git_commit[:8]}{' with changes' if manifest.git_dirty else ''}"
        if (manifest.git_commit)
        else ""
    )
    took = f"{manifest.started}, {duration(manifest.seconds)}"
    return f"[bold]{manifest.stage}[/] {manifest.identity[:12]} [dim]({took}, {manifest.host}{commit})[/]"


def _local(session: Session, name: str) -> str:
    """A stage's name without the prefix of the experiment, which Dagster's asset keys have."""
    return name.removeprefix(f"{session.experiment.name}/")
