import pytest

from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.learn import train_tokenizer

TEXTS = [f"User: which number follows {number}?\nAssistant: {number + 1} follows {number}.\n" for number in range(300)]
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def made(folder, special_tokens):
    path = folder / "tokenizer.json"
    train_tokenizer(TEXTS, TokenizerSpec(vocab_size=300, special_tokens=special_tokens)).save(str(path))
    return path


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Its only control token is the end of text."""
    return made(tmp_path_factory.mktemp("plain_tokenizer"), CONTROL[:1])


@pytest.fixture(scope="session")
def chat_tokenizer(tmp_path_factory):
    """It has the control tokens of ChatML, too."""
    return made(tmp_path_factory.mktemp("chat_tokenizer"), CONTROL)
