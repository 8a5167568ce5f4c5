"""Writes docs/queries.md: every query with its output over the store as it is. Run: python docs/make_queries.py."""

from pathlib import Path

from llm_core.store.home import pedigree_home
from llm_core.store.views import open_views
from pipelines.show import query_lines

QUERIES = {
    "Which artifacts are there, and how long did each take?": """
SELECT stage, identity[:8] AS id, round(seconds, 1) AS seconds, bytes, files FROM artifacts ORDER BY started""",
    "How far are the runs, including unfinished ones?": """
SELECT stage, unfinished, steps, tokens, round(loss, 3) AS loss, round(validation_loss, 3) AS validation,
       round(tokens_per_second) AS tokens_per_s
FROM runs ORDER BY last_step""",
    "Which rule dropped how much?": """
SELECT rule, count(*) AS documents, sum(length(text)) AS characters, round(median(value), 3) AS median_value
FROM drops GROUP BY rule ORDER BY documents DESC""",
    "What does a rule drop? (The documents nearest to its limit.)": """
SELECT round(value, 3) AS value, origin, row, length(text) AS characters -- add text to read them
FROM drops WHERE rule = 'alphabetic_words' ORDER BY value DESC LIMIT 5""",
    "How did the loss of the full run change?": """
SELECT step, round(avg(loss) OVER (ORDER BY step ROWS 31 PRECEDING), 3) AS smoothed_loss,
       round(validation_loss, 3) AS validation, round(lr, 6) AS lr, round(grad_norm, 2) AS grad_norm
FROM steps JOIN artifacts USING (identity)
WHERE stage = 'pretrained_model' QUALIFY validation_loss IS NOT NULL ORDER BY step""",
    "Which learning rate was best?": """
SELECT config->'training'->'optimizer'->>'lr' AS lr, round((stats->>'final_validation_loss')::DOUBLE, 4) AS validation
FROM artifacts WHERE stage LIKE 'rate_runs/%' ORDER BY validation""",
    "Which steps were the slowest, and were they the ones with validation?": """
SELECT step, round(steps.seconds, 2) AS seconds, validation_loss IS NOT NULL AS validated
FROM steps JOIN artifacts USING (identity) WHERE stage = 'pretrained_model' ORDER BY steps.seconds DESC LIMIT 5""",
    "How good is the model, compared with the baselines?": """
SELECT task, metric, round(value, 4) AS value, round(stderr, 4) AS stderr, n, chance FROM evals ORDER BY metric, value""",
    "Which checks failed?": """
SELECT stage, name, blocking, value, bound, message FROM checks WHERE NOT passed""",
    "Which artifacts were made from this one? (All that depend on the tokenizer.)": """
WITH RECURSIVE below AS (
    SELECT stage, identity, 0 AS distance FROM artifacts WHERE stage = 'tokenizer'
    UNION
    SELECT inputs.stage, inputs.identity, distance + 1 FROM inputs JOIN below ON inputs.input_identity = below.identity)
SELECT stage, identity[:8] AS id, min(distance) AS distance FROM below GROUP BY ALL ORDER BY distance, stage""",
}

HEAD = """# Ten queries

`pedigree query "…"` runs DuckDB SQL over these views. Any other DuckDB client can open them in `.pedigree/pedigree.duckdb`. The views
read the files of the store, so they also show runs that are training now. The database can be moved and copied with the store. To
attach it to another database, set its folder: `SET VARIABLE pedigree_home = '/path/to/.pedigree'`. (The outputs are those of one `make run` on
two CPU cores. `python docs/make_queries.py` writes this page.)

| view | a row is |
|---|---|
| `artifacts` | an artifact: stage, identity, time, size, statistics, configuration, versions, commit |
| `inputs` | one input of an artifact |
| `gates` | a gate with which an artifact was launched, its results at that time, and who overruled it |
| `forecasts` | a full run that was forecast: forecast, 90% interval, result. The share of `within` is the coverage over all experiments |
| `checks` | a check's verdict when the artifact was made |
| `runs`, `steps` | a training run; an optimiser step of a run (`reason`: why it was skipped). `unfinished`: the run is training now, or was stopped |
| `validation_windows` | the loss of a window in a finished run's last validation, with its document |
| `evals`, `items` | a score with its standard error and 95% interval; the scores of one item (a document, a question) |
| `samples` | a text that the model wrote |
| `drops` | a document that a rule dropped, with the rule and its value |
"""


def main() -> None:
    parts = [HEAD]
    with open_views(pedigree_home() / "store") as connection:
        for number, (question, sql) in enumerate(QUERIES.items(), 1):
            relation = connection.sql(sql)
            output = "\n".join(query_lines(relation.columns, [relation.fetchall()]))
            parts.append(f"## {number}. {question}\n\n```sql{sql}\n```\n\n```\n{output}\n```\n")
    Path(__file__).with_name("queries.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
