"""Whether a text that contains an added token gets the same ids here as with the tokenizer of the imported file."""

from collections.abc import Iterable, Iterator, Mapping

from tokenizers import Regex, pre_tokenizers

from llm_core.tokens.byte_level import ByteLevelBPE, entry_name, is_name


def why_found_in_texts(read: ByteLevelBPE, special: Mapping[str, int]) -> str | None:
    """Why ids may differ from the file's when only the special tokens ``special`` are kept; None if they can't.

    HF tokenizers skip a special token that is written in a text. Three things can change ids:

    1. An added token overlaps a special token. The file's tokenizer does not find it there; without the special token,
       ours would.
    2. Merges make the name of a special token, so ordinary text gets its id.
    3. The pattern leaves the name of a special token whole, and whole pieces become entries: again ordinary text gets
       its id.
    """
    made = {left + right for left, right in read.merges}
    merged = next((token for token in read.special if is_name(token, made)), None)
    if merged is not None:
        return (
            f"its merges lead to its special token {merged!r}, so any text may get its id; take it out of the file's "
            "added_tokens, and it is an ordinary entry"
        )
    for token in set(read.special) - set(special):
        hidden = next((ordinary for ordinary in read.ordinary if _overlap(token, ordinary)), None)
        if hidden is not None:
            return (
                f"its added token {hidden!r} can begin inside of its special token {token!r}; name that one in "
                "special_tokens, too, so that texts get the same ids"
            )
    if read.whole_pieces:
        whole = next(_in_one_piece(special, read.pattern), None)
        if whole is not None:
            return (
                f"the special token {whole!r} is an ordinary word, which would get its id in any text; choose another"
            )
    return None


def _overlap(first: str, second: str) -> bool:
    """Whether a text can contain ``first`` and ``second`` so that ``second`` begins inside ``first``."""
    return any(first.startswith(second[: len(first) - place], place) for place in range(len(first)))


def _in_one_piece(tokens: Iterable[str], pattern: str) -> Iterator[str]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    for token in tokens:
        if entry_name(token.encode()) == token and len(split.pre_tokenize_str(token)) == 1:
            yield token
