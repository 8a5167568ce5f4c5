"""The sections about the artifacts themselves: lineage, checks, when and where they were made, library versions."""

from collections import Counter
from collections.abc import Sequence

from llm_core.graph.job import Job
from llm_core.report.blocks import Cell, Facts, Marked, Section, Table, text
from llm_core.report.formatting import NONE, duration, moment
from llm_core.report.read import Inputs


def failed_checks(inputs: Inputs) -> tuple[int, int]:
    """How many checks failed, and how many there are."""
    passed = [check.passed for artifact in inputs.values() for check in artifact.manifest.checks]
    return passed.count(False), len(passed)


def checks(job: Job) -> Section:
    """Every check of every artifact, failed ones first."""
    found = [(item.manifest.stage, check) for item in job.inputs.values() for check in item.manifest.checks]
    rows = []
    for stage, check in sorted(found, key=lambda row: row[1].passed):
        verdict = "passed" if check.passed else "failed"
        effect = "blocks" if check.blocking else "reports"
        rows.append(
            (Cell(stage, "nowrap"), Cell(check.name, "nowrap"), effect, Cell(verdict, f"pill {verdict}"), check.message)
        )
    how = text("A failed check that blocks stops all stages that depend on its asset.")
    return Section("Checks", [how, Table(("Asset", "Check", "Effect", "Verdict", "What it found"), rows, names=5)])


def lineage(job: Job) -> Section:
    """One row per artifact: its content and its inputs."""
    rows = [
        (
            Cell(item.manifest.stage, "nowrap"),
            Cell(item.manifest.content[:10], "mono", title=item.manifest.content),
            _inputs([one.stage for one in item.manifest.inputs]) or NONE,
        )
        for item in job.inputs.values()
    ]
    how = text(
        "Every asset and its inputs. The content digest is that of its files. When, where and how fast it was made, "
        "and with which versions, is in ", Marked("made.html", "code"), " beside this page.",
    )  # fmt: skip
    return Section("Lineage", [how, Table(("Asset", "Content", "Inputs"), rows, names=3)])


def _inputs(stages: Sequence[str]) -> str:
    """Their names. A family of runs, such as ``scaling_runs/…``, is one name with a count."""
    families = Counter(stage.partition("/")[0] for stage in dict.fromkeys(stages))
    names = (
        stage if families[family := stage.partition("/")[0]] == 1 else f"{family} ({families[family]})"
        for stage in stages
    )
    return ", ".join(dict.fromkeys(names))


def made(job: Job) -> Section:
    """One row per artifact: when and where it was built; and the gates with which it was launched."""
    rows = []
    for manifest in (artifact.manifest for artifact in job.inputs.values()):
        commit = (manifest.git_commit or "")[:9] + (" + changes" if manifest.git_dirty else "")
        rows.append(
            (
                Cell(manifest.stage, "nowrap"),
                Cell(manifest.identity[:10], "mono", title=manifest.identity),
                Cell(moment(manifest.started), "nowrap"),
                manifest.host,
                Cell(commit or NONE, "mono"),
                duration(manifest.seconds),
            )
        )
    how = text("An identity is the hash of code, configuration and inputs.")
    launched = [
        (Cell(item.manifest.stage, "nowrap"), str(record))
        for item in job.inputs.values()
        for record in item.manifest.gates
    ]
    gates = [Table(("Asset", "Launched"), launched, names=2, caption="Gates")] if launched else []
    table = Table(("Asset", "Identity", "Made", "Host", "Commit", "Took"), rows, 5)
    return Section("When and where", [how, table, *gates])


def versions(job: Job) -> Section:
    """Library versions of all artifacts; where they differ, each with its stages."""
    found: dict[str, dict[str, list[str]]] = {}
    for artifact in job.inputs.values():
        for library, version in artifact.manifest.versions.items():
            found.setdefault(library, {}).setdefault(version, []).append(artifact.manifest.stage)
    rows = [
        (
            library,
            next(iter(kinds)) if len(kinds) == 1 else "; ".join(f"{v} ({', '.join(s)})" for v, s in kinds.items()),
        )
        for library, kinds in sorted(found.items())
    ]
    return Section("Versions", [Facts(rows)])
