"""DuckDB views over the files of the store. No data is copied, no reader blocks a run, and live runs are visible.

================== =================================================================================================
artifacts          one row per committed artifact
inputs             one row per artifact and input
gates              one row per artifact and gate with which it was launched, with the results of the gate
forecasts          one row per full run that was forecast: the forecast, its interval, and the result
checks             one row per artifact and check, with the verdict when the artifact was built
runs               one row per training run; ``unfinished``: it is training now, or was stopped
steps              one row per run and optimiser step
validation_windows one row per finished run and window of its last validation
evals              one row per artifact, task and metric
items              one row per artifact, task and item
samples            one row per generation
drops              one row per dropped document, with the rule and its value
================== =================================================================================================
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import duckdb

from llm_core.store.store import Store

HOME = "pedigree_home"
"""The variable with the folder of the database file (``SET VARIABLE pedigree_home = '/where/.pedigree'``)."""

METRICS = "metrics.jsonl"

_MANIFEST = {
    "kind": "VARCHAR",
    "stage": "VARCHAR",
    "experiment": "VARCHAR",
    "identity": "VARCHAR",
    "content": "VARCHAR",
    "code_digest": "VARCHAR",
    "config": "JSON",
    "source_digests": "JSON",
    "inputs": "STRUCT(role VARCHAR, stage VARCHAR, identity VARCHAR, content VARCHAR)[]",
    "files": "STRUCT(path VARCHAR, size BIGINT, xxh3 VARCHAR, volatile BOOLEAN)[]",
    "checks": "STRUCT(name VARCHAR, passed BOOLEAN, blocking BOOLEAN, message VARCHAR, value DOUBLE, bound DOUBLE)[]",
    "stats": "JSON",
    "started": "TIMESTAMPTZ",
    "seconds": "DOUBLE",
    "versions": "JSON",
    "git_commit": "VARCHAR",
    "git_dirty": "BOOLEAN",
    "host": "VARCHAR",
    "device": "VARCHAR",
    "gates": "STRUCT(stage VARCHAR, identity VARCHAR, content VARCHAR, made TIMESTAMPTZ, results JSON, launched "
    "TIMESTAMPTZ, passed VARCHAR, overrule STRUCT(who VARCHAR, why VARCHAR))[]",
    "filename": "VARCHAR",
}
_UNFINISHED = {name: _MANIFEST[name] for name in ("kind", "stage", "experiment", "identity", "filename")}
_STEP = {
    "step": "BIGINT",
    "loss": "DOUBLE",
    "validation_loss": "DOUBLE",
    "validation_bits_per_byte": "DOUBLE",
    "lr": "DOUBLE",
    "grad_norm": "DOUBLE",
    "tokens": "BIGINT",
    "seconds": "DOUBLE",
    "tokens_per_second": "DOUBLE",
    "mfu": "DOUBLE",
    "memory": "BIGINT",
    "batch": "VARCHAR",
    "skipped": "BOOLEAN",
    "reason": "VARCHAR",
    "time": "DOUBLE",
    "filename": "VARCHAR",
}
_WINDOW = {
    "number": "BIGINT",
    "start_token": "BIGINT",
    "tokens": "BIGINT",
    "nats": "DOUBLE",
    "text_nats": "DOUBLE",
    "bytes": "BIGINT",
    "document": "BIGINT",
    "filename": "VARCHAR",
}
_EVAL = {
    "task": "VARCHAR",
    "metric": "VARCHAR",
    "value": "DOUBLE",
    "stderr": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "n": "BIGINT",
    "chance": "DOUBLE",
    "filename": "VARCHAR",
}
_ITEM = {
    "task": "VARCHAR",
    "item_id": "VARCHAR",
    "cluster": "VARCHAR",
    "choices": "BIGINT",
    "gold": "BIGINT",
    "choice_bits": "DOUBLE[]",
    "correct": "BIGINT",
    "correct_per_byte": "BIGINT",
    "correct_per_character": "BIGINT",
    "correct_per_token": "BIGINT",
    "correct_by_likelihood": "BIGINT",
    "rouge_1": "DOUBLE",
    "rouge_2": "DOUBLE",
    "rouge_l": "DOUBLE",
    "prompt_level_strict": "BIGINT",
    "prompt_level_loose": "BIGINT",
    "instruction_level_strict": "DOUBLE",
    "instruction_level_loose": "DOUBLE",
    "rules": "STRUCT(rule VARCHAR, strict BOOLEAN, loose BOOLEAN)[]",
    "generated": "VARCHAR",
    "bits": "DOUBLE",
    "bytes": "BIGINT",
    "bits_per_byte": "DOUBLE",
    "filename": "VARCHAR",
}
_SAMPLE = {
    "prompt": "VARCHAR",
    "temperature": "DOUBLE",
    "text": "VARCHAR",
    "tokens": "BIGINT",
    "seed": "BIGINT",
    "filename": "VARCHAR",
}
_DROP = {
    "doc_id": "VARCHAR",
    "text": "VARCHAR",
    "source": "VARCHAR",
    "origin": "VARCHAR",
    "row": "BIGINT",
    "rule": "VARCHAR",
    "value": "DOUBLE",
    "kept_doc_id": "VARCHAR",
    "filename": "VARCHAR",
}

_FORECAST = {
    "forecast": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "loss": "DOUBLE",
    "error": "DOUBLE",
    "within": "BOOLEAN",
    "beyond": "DOUBLE",
    "made": "TIMESTAMPTZ",
}


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escaped(path: Path) -> str:
    """A path in which glob characters stand for themselves."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))


@dataclass(frozen=True)
class _Place:
    """The store, and its path in SQL: an expression that is constant when a query is bound."""

    root: Path
    sql: str

    @classmethod
    def absolute(cls, root: Path) -> "_Place":
        return cls(root, _literal(_escaped(root)))

    @classmethod
    def beside(cls, root: Path, database: Path) -> "_Place":
        """The store relative to ``database``, so that both can be moved together.

        A view can't ask for the name of its own database file, but the setting ``temp_directory`` is that name with
        ``.tmp``. A program that sets it, or attaches the database to another one, must set ``pedigree_home``.
        """
        way = _literal(f"/{_escaped(Path(os.path.relpath(root, database.parent)))}")
        beside = "nullif(parse_dirpath(current_setting('temp_directory')), '')"
        home = f"coalesce(getvariable({_literal(HOME)}), {beside}, '.')"
        return cls(root, f"regexp_replace({home}, '([*?\\[])', '[\\1]', 'g') || {way}")


def _files(place: _Place, patterns: list[str], columns: dict[str, str], reader: str) -> str:
    """A table expression over the matching files. Without any, an empty table with the same columns."""
    root = place.root
    matching = [pattern for pattern in patterns if next(iter(root.glob(pattern)), None) is not None]
    if not matching:
        nothing = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
        return f"(SELECT {nothing} WHERE false)"
    globs = ", ".join(f"{place.sql} || {_literal(f'/{pattern}')}" for pattern in matching)
    if reader == "parquet":
        present = f"read_parquet([{globs}], union_by_name = true, filename = true)"
        empty = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns.items())
        return f"(SELECT * FROM {present} UNION ALL BY NAME SELECT {empty} WHERE false)"
    kinds = ", ".join(f"{name}: {_literal(kind)}" for name, kind in columns.items() if name != "filename")
    whole = next(iter(columns))  # an incomplete line, or one that is being written, is read as nulls
    return (
        f"(SELECT * FROM read_json([{globs}], format = 'newline_delimited', columns = {{{kinds}}}, filename = true, "
        f"maximum_object_size = 268435456, ignore_errors = true) WHERE {whole} IS NOT NULL)"
    )


# The name of an artifact's folder is its identity.
_IDENTITY = "regexp_extract(filename, '.*/(?:artifacts|work)/[^/]+/([0-9a-f]{32})/', 1)"


def damaged_metrics(root: Path) -> dict[str, str]:
    """Identity → problem, for finished runs with damaged metrics. ``steps`` and ``runs`` leave them out."""
    store = Store(root)
    found = {run.manifest.identity: store.damaged_files(run).get(METRICS) for run in store.artifacts("training_run")}
    return {identity: problem for identity, problem in found.items() if problem}


def _in_place(notes: str) -> str:
    """Manifests or work notes that are where they were written: no manual copies, and no foreign files."""
    return f"(SELECT * FROM {notes} WHERE contains(filename, '/' || kind || '/' || identity || '/'))"


def view_definitions(root: Path, database: Path | None = None) -> dict[str, str]:
    """View name → SELECT, over the store at ``root`` as it is now. Paths are relative to ``database`` if given."""
    place = _Place.absolute(root) if database is None else _Place.beside(root, database)
    manifests = _in_place(_files(place, ["artifacts/*/*/manifest.json"], _MANIFEST, "lines"))
    unfinished = _in_place(_files(place, ["work/*/*/stage.json"], _UNFINISHED, "lines"))
    steps = _files(
        place, ["artifacts/training_run/*/metrics.jsonl", "work/training_run/*/metrics.jsonl"], _STEP, "lines"
    )
    of_artifacts = {
        "validation_windows": ("training_run/*/validation_windows.jsonl", _WINDOW, "lines"),
        "evals": ("eval_results/*/evals.jsonl", _EVAL, "lines"),
        "items": ("eval_results/*/scores.jsonl", _ITEM, "lines"),
        "samples": ("generation_samples/*/samples.jsonl", _SAMPLE, "lines"),
        "drops": ("*/*/dropped/*.parquet", _DROP, "parquet"),
    }
    named = {
        # A kill can leave work beside its artifact: its steps must not be counted twice.
        "steps": f"SELECT {_IDENTITY} AS identity, * EXCLUDE (filename), "
        f"regexp_matches(filename, '/work/[^/]+/[^/]+/metrics.jsonl$') AS unfinished FROM {steps} "
        f"WHERE if(unfinished, identity NOT IN (SELECT identity FROM {manifests}), "
        f"identity NOT IN ({', '.join(map(_literal, ['', *damaged_metrics(root)]))}))",
        **{
            name: f"SELECT {_IDENTITY} AS identity, * EXCLUDE (filename) "
            f"FROM {_files(place, [f'artifacts/{pattern}'], columns, reader)} "
            f"WHERE identity IN (SELECT identity FROM {manifests})"
            for name, (pattern, columns, reader) in of_artifacts.items()
        },
    }
    return {
        "artifacts": "SELECT experiment, stage, kind, identity, content, started, seconds, "
        "list_sum([file.size for file in files])::BIGINT AS bytes, len(files) AS files, stats, config, code_digest, "
        f"versions, git_commit, git_dirty, host, device, left(filename, -14) AS path FROM {manifests}",
        "inputs": "SELECT experiment, stage, identity, input.role AS role, input.stage AS input_stage, "
        f"input.identity AS input_identity, input.content AS input_content "
        f"FROM (SELECT *, unnest(inputs) AS input FROM {manifests})",
        "gates": "SELECT experiment, stage, identity, gate.stage AS gate, gate.identity AS gate_identity, "
        "gate.content AS gate_content, gate.made AS made, gate.launched AS launched, gate.passed AS passed, "
        "gate.overrule.who AS overruled_by, gate.overrule.why AS why, gate.results AS results "
        f"FROM (SELECT *, unnest(gates) AS gate FROM {manifests})",
        "forecasts": "SELECT experiment, identity, "
        + ", ".join(f"(stats->>'{name}')::{kind} AS {name}" for name, kind in _FORECAST.items())
        + f" FROM {manifests} WHERE kind = 'forecast_score'",
        "checks": 'SELECT experiment, stage, identity, "check".name AS name, "check".passed AS passed, '
        '"check".blocking AS blocking, "check".value AS value, "check".bound AS bound, "check".message AS message '
        f'FROM (SELECT *, unnest(checks) AS "check" FROM {manifests})',
        **named,
        "runs": "SELECT steps.identity, any_value(artifacts.experiment) AS experiment, "
        "any_value(artifacts.stage) AS stage, bool_or(unfinished) AS unfinished, max(step) AS steps, "
        "max(tokens) AS tokens, arg_max(loss, step) AS loss, arg_max(validation_loss, step) AS validation_loss, "
        "arg_max(validation_bits_per_byte, step) AS validation_bits_per_byte, "
        "sum(steps.seconds) AS seconds, median(tokens_per_second) AS tokens_per_second, "
        "count(*) FILTER (skipped) AS skipped_steps, to_timestamp(max(time)) AS last_step "
        f"FROM ({named['steps']}) AS steps LEFT JOIN "
        f"(SELECT identity, any_value(experiment) AS experiment, any_value(stage) AS stage FROM (SELECT identity, "
        f"experiment, stage FROM {manifests} UNION ALL SELECT identity, experiment, stage FROM {unfinished}) "
        "GROUP BY identity) AS artifacts USING (identity) GROUP BY steps.identity",
    }


def open_views(root: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory connection with all views. It locks nothing."""
    connection = duckdb.connect()
    _create(connection, root)
    return connection


def write_views(root: Path, database: Path) -> None:
    """Write a database with the views to ``database``, for other programs. The file is replaced atomically.

    It can be moved and copied together with the store.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    temporary = database.with_name(f".{database.name}.{uuid.uuid4().hex}")
    try:
        with duckdb.connect(str(temporary)) as connection:
            _create(connection, root, database)
        temporary.replace(database)
    finally:
        temporary.unlink(missing_ok=True)


def _create(connection: duckdb.DuckDBPyConnection, root: Path, database: Path | None = None) -> None:
    for name, select in view_definitions(root, database).items():
        try:
            connection.execute(f"CREATE VIEW {name} AS {select}")
        except duckdb.Error as error:  # a damaged file: this view raises the error, and the others work
            connection.execute(f"CREATE VIEW {name} AS SELECT error({_literal(str(error))}) AS damaged")
