"""The requests of OpenAI's API that are supported, and the form of its errors."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_core.experiment.base import problems
from llm_core.experiment.evaluation import LEAST_PENALTY, MOST_PENALTY
from llm_core.serve.documents import MOST

Text = Annotated[str, Field(min_length=1, max_length=200)]


class ApiError(Exception):
    """An error for the client. ``param``: the field. ``code``: a word for programs."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """As OpenAI's API writes it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TextPart(_Part):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(_Part):
    """A message. Its role is checked with the conversation."""

    role: str
    content: str | list[TextPart]

    def turn(self) -> dict[str, str]:
        """With one text."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text}


class StreamOptions(_Part):
    """``include_usage``: whether a last chunk counts the tokens."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Generation(_Part):
    """What both kinds of request have in common.

    ``top_k`` and ``repetition_penalty`` are not OpenAI's (``Sampling`` explains them), nor is ``retrieve``: the number
    of passages that the model reads before it answers. The last fields are accepted with the value that changes
    nothing, because clients send them.
    """

    model: str
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=LEAST_PENALTY, le=MOST_PENALTY)] | None = None
    retrieve: Annotated[int, Field(ge=1, le=MOST)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=8)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    n: Literal[1] | None = None
    frequency_penalty: Literal[0] | Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Literal[0] | Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None

    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or [])


class ChatRequest(Generation):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(max_length=1000)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None


class CompletionRequest(Generation):
    """``POST /v1/completions``. ``prompt``: one text; a list may hold one."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    suffix: None = None

    def text(self) -> str:
        """The prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


Wanted = TypeVar("Wanted", bound=Generation)


_FIELDS = {
    name for part in (ChatRequest, CompletionRequest, Message, TextPart, StreamOptions) for name in part.model_fields
}
"""pydantic's places of errors also name the alternatives of a union."""


def parsed(kind: type[Wanted], body: bytes) -> Wanted:
    """The request in ``body``. Raises ``ApiError`` that names the field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = problems(error)[0]
        if problem["type"] == "json_invalid":
            raise ApiError(400, f"the body is not JSON: {problem['msg']}") from None
        field = ".".join(str(part) for part in problem["loc"] if part in _FIELDS or isinstance(part, int))
        if problem["type"] == "extra_forbidden":
            field = ".".join(map(str, problem["loc"]))[:100]
            raise ApiError(400, f"{field}: there is no such field, or it is not supported", field) from None
        raise ApiError(400, f"{field or 'the body'}: {problem['msg']}", field or None) from None
