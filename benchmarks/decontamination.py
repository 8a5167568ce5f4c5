"""What decontamination finds of planted eval items, and what it drops of other corpora.

    python -m benchmarks.decontamination [--evals FOLDER] [--text FOLDER]

``--evals``: a folder with the suites' files (by default ``../shared/data/eval``); ``--text``: a folder of
``.jsonl.zst`` files with a field ``text``. 400 items of each suite that have eight words or more in a rendering are
planted in random documents of the first corpus; the last two renderings of a question are none that the index knows. Of
the documents that are dropped, those are *false* that do not hold half of the item's words in one row.
"""

import argparse
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import zstandard
from pydantic import TypeAdapter

from llm_core.data.eval_index import PLANTED, EvalIndex
from llm_core.data.kernels.folding import fold
from llm_core.data.suites import Item, read_suite, renderings, suite_texts
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.suites import MultipleChoiceSuite, SuiteSpec

SHARED = Path(__file__).parents[2] / "shared" / "data"
LEAST = 8
SUITES = [
    {
        "kind": "multiple_choice",
        "name": "sciq_valid",
        "query": "question",
        "choices": ["distractor1", "distractor2", "distractor3", "correct_answer"],
        "gold": "correct_answer",
    },
    {"kind": "multiple_choice", "name": "arc_easy"},
    {"kind": "multiple_choice", "name": "piqa"},
    {"kind": "multiple_choice", "name": "hellaswag_val"},
    {"kind": "last_word", "name": "lambada_openai"},
    {"kind": "minimal_pairs", "name": "zorro"},
    {"kind": "perplexity", "name": "wikitext2_valid"},
]


def texts_of(path: Path) -> pl.Series:
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file).read()
    return pl.read_ndjson(data, infer_schema_length=None)["text"]


def printed(suite: SuiteSpec, item: Item) -> dict[str, str]:
    """The renderings of the index, and two more."""
    told = renderings(suite, item)
    if isinstance(suite, MultipleChoiceSuite):
        choices = " ".join(f"({chr(ord('a') + place)}) {choice};" for place, choice in enumerate(item.choices))
        told["in brackets"] = f"{told['question']} {choices}"
        told["answer first"] = f"{item.choices[item.gold]}: {told['question']}"
    return told


def longest_run(item: list[str], document: str) -> int:
    """Words of ``item`` that stand in the folded ``document`` in one row, at most."""
    for size in range(len(item), 0, -1):
        if any(f" {' '.join(item[at : at + size])} " in document for at in range(len(item) - size + 1)):
            return size
    return 0


def folded_words(texts: list[str]) -> list[str]:
    data, offsets = fold(pl.Series(texts, dtype=pl.String))
    return [data[start:stop].tobytes().decode() for start, stop in pairwise(offsets)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evals", type=Path, default=SHARED / "eval")
    parser.add_argument("--text", type=Path, default=SHARED / "text")
    arguments = parser.parse_args()
    adapter: TypeAdapter[SuiteSpec] = TypeAdapter(SuiteSpec)
    suites = [
        adapter.validate_json(adapter.dump_json({**one, "path": str(path)}, warnings=False))
        for one in SUITES
        if (path := arguments.evals / f"{one['name']}.jsonl.zst").is_file()
    ]
    items_of = {suite: read_suite(suite) for suite in suites}
    index = EvalIndex.of_items(items_of, DecontaminationSpec())
    texts = [text for suite, items in items_of.items() for _, text in suite_texts(suite, items)]
    corpora = {path.name.partition(".")[0]: texts_of(path) for path in sorted(arguments.text.glob("*.jsonl.zst"))}
    chance, (hosts, *_) = random.Random(0), corpora.values()
    print("| suite | items | rendering | planted | found | recall |\n|---|--:|---|--:|--:|--:|")
    for suite, items in items_of.items():
        for name in printed(suite, items[0]):
            told = [printed(suite, item)[name] for item in items]
            long = [text for text in told if len(text.split()) >= LEAST]
            planted = []
            for text in chance.sample(long, min(PLANTED, len(long))):
                host = hosts[chance.randrange(len(hosts))]
                place = chance.randrange(len(host))
                planted.append(f"{host[max(0, place - 500) : place]}\n{text}\n{host[place : place + 500]}")
            found = int((index.find(fold(pl.Series(planted)))[0] >= 0).sum())
            share = f"{found / len(planted):.1%}" if planted else ""
            print(f"| {suite.name} | {len(items):,} | {name} | {len(planted)} | {found} | {share} |")
    print("\n| corpus | documents | dropped | by suite | false |\n|---|--:|--:|---|--:|")
    for corpus, column in corpora.items():
        held = index.find(fold(column))[0]
        places = np.flatnonzero(held >= 0)
        false = 0
        for place, document in zip(places, folded_words([column[int(at)] for at in places]), strict=True):
            (words,) = folded_words([texts[held[place]]])
            false += 2 * longest_run(words.split(), f" {document} ") < len(words.split())
        counts = index.texts["suite"].gather(held[places]).value_counts().sort("suite")
        by_suite = ", ".join(f"{suite} {count}" for suite, count in counts.iter_rows()) or "none"
        print(f"| {corpus} | {len(column):,} | {len(places)} | {by_suite} | {false} |")


if __name__ == "__main__":
    main()
