"""``--retrieve`` and ``--index``: which documents answers cite, and what is told about them."""

import pytest

from tests.pipelines.conftest import World, copy_of

FEW = ("--max-tokens", "2", "--retrieve", "1")


@pytest.fixture(scope="module")
def world(finished: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A finished world with an index of passages of a few words, for a model that reads 32 tokens."""
    made = copy_of(finished, tmp_path_factory.mktemp("cited") / "world")
    made.experiment.write_text(made.experiment.read_text() + "retrieval: {passage_characters: 24}\n")
    return made


def errors(world: World, *arguments: str) -> str:
    asked = world.asked("sample", "river", "-e", str(world.experiment), *arguments)
    assert asked.exit_code == 1
    assert "Traceback" not in asked.stderr
    return asked.stderr


def test_answers_cite_the_documents_of_the_experiment(world: World) -> None:
    experiment = str(world.experiment)
    assert "micro has no retrieval_index for its current settings" in errors(world, *FEW)
    world.pedigree("run", experiment, "--select", "retrieval_index")
    asked = world.asked("sample", "river", "-e", experiment, *FEW)
    assert asked.exit_code == 0
    assert asked.stderr.startswith("[1] ")
    assert ".jsonl:" in asked.stderr
    assert "note" not in asked.stderr  # the model was trained on these documents
    (index,) = (world.folder / "home" / "store" / "artifacts" / "retrieval_index").iterdir()

    world.edit("retrieval: {", "retrieval: {documents: {sources: [{kind: files, paths: [PLACE]}]}, ")
    (world.folder / "handbook.jsonl").write_text('{"text": "A river lock lifts boats."}\n')
    world.edit("PLACE", str(world.folder / "handbook.jsonl"))
    world.pedigree("run", experiment, "--select", "retrieval_index")
    asked = world.asked("sample", "river", "-e", experiment, *FEW)
    assert "pretrained_model was not trained on the documents of this index (micro/retrieval_index" in asked.stderr
    assert "handbook.jsonl:0" in asked.stderr
    named = world.asked("sample", "river", "-e", experiment, *FEW, "--index", index.name)
    assert "note" not in named.stderr
    assert "handbook" not in named.stderr


def test_what_can_not_be_found_is_told(finished: World) -> None:
    assert "micro has no documents to find: add the section `retrieval: {}`" in errors(finished, *FEW)
    assert "--index: say with --retrieve how many" in errors(finished, "--index", "abc")
    assert "--index tokenizer: is of the stage tokenizer" in errors(finished, *FEW, "--index", "tokenizer")
