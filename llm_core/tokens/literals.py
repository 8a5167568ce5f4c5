"""Whether texts that hold the names of added tokens get the ids that the file's own tokenizer gives them."""

from collections.abc import Iterable, Iterator, Mapping

from tokenizers import Regex, pre_tokenizers

from llm_core.tokens.byte_level import ByteLevelBPE, entry_name, is_name


def why_found_in_texts(read: ByteLevelBPE, special: Mapping[str, int]) -> str | None:
    """Why ids may be other ones than the file's when ``special`` is all that is left of its special tokens.

    None if they can't be. HF tokenizers pass over a special token that stands in a text. So (1) an added token inside
    of it is not found there, and would be once the special one is gone; (2) a special token that merges lead to is what
    texts become, too; and (3) so is one that the pattern leaves whole where whole pieces become entries.
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
    """Whether ``second`` can begin inside of ``first`` where both stand in a text."""
    return any(first.startswith(second[: len(first) - place], place) for place in range(len(first)))


def _in_one_piece(tokens: Iterable[str], pattern: str) -> Iterator[str]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    for token in tokens:
        if entry_name(token.encode()) == token and len(split.pre_tokenize_str(token)) == 1:
            yield token
