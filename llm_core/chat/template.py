"""Chat templates: a conversation as pieces of text and control tokens, and as token ids with a target mask.

A template is Jinja, in the dialect of ``transformers``, and runs in a sandbox. It never sees what people wrote: each
turn is a placeholder while the template is rendered. Control tokens are looked for in the template's own text only.
So a control token that a user types stays ordinary text, whatever the template does with it.

Which control tokens are there? A tokenizer that was trained without chat in mind has one: the end of text. So the
built-in template ``plain`` needs no other. It writes the roles as ordinary text and ends every turn with the end of
text, as DialoGPT does (Zhang et al., 2020). A role is only a role directly after that token, and no user can type that
token. Such a template works with every tokenizer and every finished model, and adds no rows to the embedding, which
would be untrained and make another shape. ``chatml`` has tokens of its own for the borders of turns; they must stand in
``tokenizer.special_tokens`` before the tokenizer is trained.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from tokenizers import Tokenizer

from llm_core.chat.conversation import ConversationError, Turn, answered, checked
from llm_core.errors import PedigreeError
from llm_core.experiment.chat import BUILT_IN, TEMPLATE_FILE
from llm_core.tokens.prompts import prompt_tokenizer
from llm_core.tokens.tokenizer import end_of_text

_PLACE = re.compile("\ue000(\\d+)\ue001")
_LONGEST = 10_000_000
"""Characters that a template may write, and the size of what one operation of a template may make."""


class Piece(NamedTuple):
    """``turn``: the number of the turn that wrote ``text``; None for the template's own. ``control``: a control token.

    ``target``: whether the model learns to write it: answers, and what follows them up to the control token that ends
    the turn.
    """

    text: str
    turn: int | None
    control: bool
    target: bool


class Encoded(NamedTuple):
    """Token ids of a conversation, and which of them are targets."""

    ids: list[int]
    targets: list[bool]


class ChatTemplate:
    """``source`` (Jinja) for the ``tokenizer.json`` at ``path``.

    ``stop``: the ids that end an answer. ``special``: all control tokens and their ids. Raises ``PedigreeError`` for a
    syntax error (with its line), and for a template that does not write every turn once, does not end answers with a
    control token, or writes a prompt with which the conversation does not begin.
    """

    def __init__(self, source: str, path: Path) -> None:
        self.source = source
        self.tokenizer = prompt_tokenizer(path)
        self.eot = end_of_text(self.tokenizer, path)
        self.special = _special(self.tokenizer)
        names = sorted(self.special, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, names)))
        self._end = str(self.tokenizer.id_to_token(self.eot))
        self._template = parsed(source)
        self._texts: dict[str, list[int]] = {}
        self.stop = self._verified(path)

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> Encoded:
        """A conversation up to its last answer, as a document of training: without the end of text before it.

        Raises ``ConversationError`` for messages that are no conversation, or have no answer.
        """
        return self.encode_turns([answered(checked(messages))])[0]

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids after which the model writes the next answer. They begin with the end of text, as all texts do.

        Raises ``ConversationError`` for messages that are no conversation, or do not end with the user's turn.
        """
        turns = checked(messages)
        if turns[-1].role != "user":
            raise PedigreeError("messages: the last turn must be the user's, which the model answers")
        (encoded,) = self._encoded([self._pieces(turns, prompt=True)])
        return [self.eot, *encoded.ids]

    def encode_turns(self, conversations: Sequence[Sequence[Turn]]) -> list[Encoded]:
        """``encode`` for many conversations, whose turns are ``answered``."""
        return self._encoded([_ended(self._pieces(turns, prompt=False)) for turns in conversations])

    def _encoded(self, conversations: Sequence[Sequence[Piece]]) -> list[Encoded]:
        written = [piece.text for pieces in conversations for piece in pieces if piece.turn is not None]
        own = {piece.text for pieces in conversations for piece in pieces if piece.turn is None and not piece.control}
        new = sorted(own - self._texts.keys())
        found = self.tokenizer.encode_batch_fast([*new, *written], add_special_tokens=False)
        self._texts |= {text: encoding.ids for text, encoding in zip(new, found, strict=False)}
        contents = iter(found[len(new) :])
        encoded = []
        for pieces in conversations:
            ids: list[int] = []
            targets: list[bool] = []
            for piece in pieces:
                if piece.turn is not None:
                    more = next(contents).ids
                else:
                    more = [self.special[piece.text]] if piece.control else self._texts[piece.text]
                ids += more
                targets += [piece.target] * len(more)
            encoded.append(Encoded(ids, targets))
        return encoded

    def _pieces(self, turns: Sequence[Turn], prompt: bool) -> list[Piece]:
        """The pieces of the rendered template, without the end of text that every document follows anyway."""
        pieces: list[Piece] = []
        answering = False
        for piece in self._split(self._rendered(turns, prompt)):
            if piece.turn is not None:
                answering = turns[piece.turn].role == "assistant"
                pieces.append(piece._replace(text=turns[piece.turn].content, target=answering))
                continue
            pieces.append(piece._replace(target=answering))
            answering = answering and not piece.control
        seen = [piece.turn for piece in pieces if piece.turn is not None]
        if seen != list(range(len(turns))):
            raise PedigreeError(
                f"the chat template writes the turns {seen} of a conversation with the turns 0 to {len(turns) - 1}: it "
                "must write the content of every message once, in order, and only trim it"
            )
        return pieces[1:] if pieces and pieces[0].control and pieces[0].text == self._end else pieces

    def _split(self, rendered: str) -> Iterator[Piece]:
        end = 0
        for place in _PLACE.finditer(rendered):
            yield from self._own(rendered[end : place.start()])
            yield Piece("", int(place[1]), False, False)
            end = place.end()
        yield from self._own(rendered[end:])

    def _own(self, text: str) -> Iterator[Piece]:
        end = 0
        for control in self._control.finditer(text):
            if text[end : control.start()]:
                yield Piece(text[end : control.start()], None, False, False)
            yield Piece(control[0], None, True, False)
            end = control.end()
        if text[end:]:
            yield Piece(text[end:], None, False, False)

    def _rendered(self, turns: Sequence[Turn], prompt: bool) -> str:
        messages = [{"role": turn.role, "content": f"\ue000{number}\ue001"} for number, turn in enumerate(turns)]
        try:
            return _bounded(
                self._template.generate(
                    messages=messages, add_generation_prompt=prompt, bos_token=self._end, eos_token=self._end
                )
            )
        except RefusalError as error:
            raise ConversationError("refused by the template", f"the chat template refuses it: {error}") from None
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise PedigreeError(f"the chat template fails{_line_of(error)}: {error}") from None
        except RecursionError as error:
            raise PedigreeError(
                f"the chat template fails{_line_of(error)}: a macro or loop that calls itself does not end"
            ) from None
        except MemoryError as error:
            raise PedigreeError(
                f"the chat template fails{_line_of(error)}: it needs more memory than there is"
            ) from None

    def _verified(self, path: Path) -> tuple[int, ...]:
        """Try the template on short conversations; returns the ids that end answers."""
        said = [Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d")]
        ends = self._ends(said, path)
        # Many templates refuse a system line. Then conversations with one are refused, each with the template's words.
        with suppress(ConversationError):
            ends |= self._ends([Turn("system", "e"), *said], path)
        return tuple(sorted(self.special[name] for name in ends))

    def _ends(self, turns: Sequence[Turn], path: Path) -> set[str]:
        """The control tokens that end the answers among ``turns``, of which the last two pairs are checked."""
        pieces = self._pieces(turns, prompt=False)
        ends: set[str] = set()
        for answer in (len(turns) - 3, len(turns) - 1):
            place = next(number for number, piece in enumerate(pieces) if piece.turn == answer)
            end = next((piece for piece in pieces[place + 1 :] if piece.control or piece.turn is not None), None)
            if end is None or not end.control:
                raise PedigreeError(
                    f"the chat template does not end an answer with a control token of {path}, so the model could not "
                    f"learn to stop; it has {', '.join(self.special)}. Add others to tokenizer.special_tokens"
                )
            ends.add(end.text)
            asked = self._pieces(turns[:answer], prompt=True)
            if [piece[:3] for piece in asked] != [piece[:3] for piece in pieces[:place]]:
                raise PedigreeError(
                    "the chat template writes another prompt (add_generation_prompt) than the conversation has before "
                    "the answer: the model would be asked in another form than it was trained in"
                )
        return ends


def model_template(folder: Path, tokenizer: Path) -> ChatTemplate:
    """The template with which the model in ``folder`` was tuned; ``plain`` for a model that was not."""
    path = folder / TEMPLATE_FILE
    return ChatTemplate(path.read_text(encoding="utf-8") if path.is_file() else BUILT_IN["plain"], tokenizer)


def parsed(source: str) -> Any:
    """The Jinja template ``source``. Raises ``PedigreeError`` with the line of a syntax error."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = _raise
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise PedigreeError(f"the chat template, line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):  # Python compiles what Jinja makes of it
        raise PedigreeError(
            "the chat template is nested too deeply; use fewer loops or brackets in each other"
        ) from None


class _Sandbox(ImmutableSandboxedEnvironment):
    """It also refuses operations whose result would fill the memory."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _size(operator, left, right) > _LONGEST:
            raise SecurityError(f"the result of {operator} has more than {_LONGEST:,} characters, entries or digits")
        return super().call_binop(context, operator, left, right)


def _size(operator: str, left: Any, right: Any) -> int:
    """At least the size of the result, where it may be much larger than both operands."""
    numbers = isinstance(left, int), isinstance(right, int)
    if operator == "**":
        return left.bit_length() * right if all(numbers) and right > 0 else 0
    if operator == "*" and all(numbers):
        return int(left.bit_length() + right.bit_length())
    if operator == "*" and any(numbers):
        count, repeated = (left, right) if numbers[0] else (right, left)
        return count * len(repeated) if hasattr(repeated, "__len__") else 0
    if operator == "%" and isinstance(left, str):  # a width, as in %9d; a star takes it from the right
        widths = [int(width) for width in re.findall(r"\d+", left)]
        return max([*widths, _LONGEST + 1 if re.search(r"%[^a-zA-Z%]*\*", left) else 0])
    if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        return len(left) + len(right)
    return 0


def _bounded(pieces: Iterator[str]) -> str:
    """The pieces that a template writes as one text."""
    written, size = [], 0
    for piece in pieces:
        written.append(piece)
        size += len(piece)
        if size > _LONGEST:
            raise SecurityError(f"it writes more than {_LONGEST:,} characters")
    return "".join(written)


class RefusalError(TemplateError):
    """A template's own words about a conversation that it can't write."""


def _raise(message: str) -> None:
    raise RefusalError(message)


def _line_of(error: BaseException) -> str:
    """The line of the template in which it failed."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" at line {lines[-1]}" if lines else ""


def _special(tokenizer: Tokenizer) -> dict[str, int]:
    """The control tokens of a tokenizer."""
    return {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}


def _ended(pieces: Sequence[Piece]) -> list[Piece]:
    """Without what follows the last target: nothing is learnt there."""
    last = max(number for number, piece in enumerate(pieces) if piece.target)
    return list(pieces[: last + 1])
