"""What is asked of a model and what it answers, in one form for every provider. Data only.

Nothing here knows a provider's own form, a price or a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.costs.usage import Usage

Role = Literal["system", "user", "assistant", "tool"]

Purpose = str
"""What a call is for, as the ledger has it: ``answer``, ``check``, ``judge``, ``repair``, ``plan``, ``vote``, …"""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask to be called.

    Parameters
    ----------
    name, description
        As the model sees them.
    parameters
        JSON Schema of the arguments, an object.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model asked to be called with; ``id`` is the provider's, to answer it by."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Parameters
    ----------
    role
        ``system``, ``user``, ``assistant``, or ``tool`` for what a tool gave.
    text
        What it says.
    stable
        Whether the shared prefix ends here: this message and all before it are the same bytes in many calls, and
        are marked for the provider's prompt cache.
    calls
        Tools that an ``assistant`` message asked for.
    call_id
        Which of them a ``tool`` message answers.
    """

    role: Role
    text: str
    stable: bool = False
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model.

    Parameters
    ----------
    messages
        In order; system messages first.
    model
        Its id in the catalogue, ``provider/name``.
    max_output_tokens
        Tokens that it may write, reasoning included. What a budget reserves follows from it.
    temperature
        0 for the likeliest answer; ``None`` leaves it to the provider. Left out for models that take none.
    schema
        JSON Schema that the answer's data must meet; ``None`` for text.
    purpose
        What the ledger says that it was for.
    tools
        What the model may ask to be called.
    stop
        Texts at which it ends.
    seed
        Passed on where a provider takes one.
    prompt_version
        Version of the instructions; a cached answer to another version is never given.
    timeout_s
        Seconds for the whole call with its tries; ``None`` leaves what the step has.
    cacheable
        Whether an earlier answer to the same question may be given again.
    prefix_key
        Names those calls that share a prefix, so that a provider sends them where it is warm; empty for none.
    facts
        What task types know of the call that a local model needs no text for: its kind and its parts. Sent nowhere.
    measure
        Takes an answer's text and gives tokens of the context that it was given, and of those that it used, for the
        ledger; ``None`` where there is no context, or nobody wants to know.
    """

    messages: tuple[Message, ...]
    model: str
    max_output_tokens: int
    temperature: float | None = 0.0
    schema: Mapping[str, Any] | None = None
    purpose: Purpose = "answer"
    tools: tuple[Tool, ...] = ()
    stop: tuple[str, ...] = ()
    seed: int | None = None
    prompt_version: str = ""
    timeout_s: float | None = None
    cacheable: bool = True
    prefix_key: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    measure: Callable[[str], tuple[int, int]] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered.

    Parameters
    ----------
    text
        As it wrote it.
    data
        The validated data where a schema was asked for, else ``None``.
    model, provider
        Who answered.
    usage
        Tokens of all calls it took, a repair included.
    cost_nusd
        What they cost, in nano-dollars; 0 for what a cache gave.
    finish
        Why it ended: ``stop``, ``length``, ``tools`` or ``filtered``.
    cached
        ``none`` (not asked), ``miss``, ``hit`` or ``shared``: what the response cache had.
    call_s, first_token_s, queue_s
        Seconds the provider took, until the first token (``None`` if it did not stream), and that were waited for room.
    calls
        Tools that it wants called.
    repaired
        Whether its first data did not meet the schema and a second call's did.
    """

    text: str
    data: Any
    model: str
    provider: str
    usage: Usage
    cost_nusd: int
    finish: str
    cached: str = "none"
    call_s: float = 0.0
    first_token_s: float | None = None
    queue_s: float = 0.0
    calls: tuple[ToolCall, ...] = ()
    repaired: bool = False
