"""Published prompt formats by name: fields of suites. An experiment contains their values, not their names.

``core/…``: tasks of DCLM's CORE (Li et al., 2024), as its code asks them with llm-foundry (``eval/heavy.yaml``,
``eval/eval_meta_data.csv``). ``olmes/…``: OLMES 0.1 (Gu et al., 2024), in the cloze form and, as ``…_mc``, in the form
with letters. docs/evaluation.md says what of them is exact.
"""

from collections.abc import Mapping
from typing import Any

_CORE: dict[str, Any] = {
    "kind": "multiple_choice",
    "strip": True,
    "separator": "\n",
    "criterion": "tokens",
    "draw_shots": True,
    "max_items": None,
}
_CORE_QUESTION = {**_CORE, "suffix": "\nAnswer:"}

_OLMES = {"kind": "multiple_choice", "strip": True, "max_items": 1000}
_CLOZE = {**_OLMES, "criterion": "characters", "suffix": "\nAnswer:"}
_LETTERS = {**_OLMES, "lettered": True, "suffix": "\nAnswer:"}
_ARC = {"remove_prefix": "Question: ", "prefix": "Question: "}
_PIQA = {"remove_prefix": "Question: ", "prefix": "Goal: "}

# Suite, and the number of solved items.
SUITES: dict[str, tuple[dict[str, Any], int]] = {
    "core/hellaswag_zeroshot": ({**_CORE, "chance": 0.25}, 0),
    "core/hellaswag": ({**_CORE, "chance": 0.25}, 10),
    "core/arc_easy": ({**_CORE_QUESTION, "chance": 0.25}, 10),
    "core/piqa": ({**_CORE_QUESTION, "chance": 0.5}, 10),
    "core/lambada_openai": ({"kind": "last_word", "strip": True, "max_items": None}, 0),
    "olmes/arc_easy": ({**_CLOZE, **_ARC}, 5),
    "olmes/arc_easy_mc": ({**_LETTERS, **_ARC}, 5),
    "olmes/hellaswag": ({**_CLOZE, "suffix": ""}, 5),
    "olmes/hellaswag_mc": ({**_LETTERS, "before_choices": "Choose the best continuation:\n"}, 5),
    "olmes/piqa": ({**_CLOZE, **_PIQA}, 5),
    "olmes/piqa_mc": ({**_LETTERS, **_PIQA}, 5),
}


def written_out(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``evaluation`` with the presets of its suites expanded, and their numbers of solved items in
    ``few_shot``. The suite's own fields, and ``few_shot`` for its name, override those of the preset.

    Raises ``ValueError`` for an unknown preset.
    """
    suites, few_shot = evaluation.get("suites"), evaluation.get("few_shot", {})
    if not isinstance(suites, list | tuple) or not isinstance(few_shot, Mapping):
        return dict(evaluation)  # the fields' validators raise the error
    shots: dict[str, int] = {}
    found = []
    for suite in suites:
        if isinstance(suite, Mapping) and "preset" in suite:
            name = suite["preset"]
            if not isinstance(name, str) or name not in SUITES:
                raise ValueError(f"suites: unknown preset {name!r}; known: {', '.join(SUITES)}")
            fields, count = SUITES[name]
            expanded = {"name": name.replace("/", "_"), **fields, **suite}
            del expanded["preset"]
            if count:
                shots[str(expanded["name"])] = count
            found.append(expanded)
        else:
            found.append(suite)
    given = {**shots, **few_shot}
    return {**evaluation, "suites": tuple(found), **({"few_shot": given} if given else {})}
