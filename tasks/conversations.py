"""Conversations with tools as a plan hands them over: read, and shortened where they do not fit. Registers nothing.

A step has no memory, so what earlier calls saw is played through again: the same messages are masked at the same turns,
and each call begins with the bytes of the one before wherever the rule of ``engine.context.history`` lets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import Permanent, UsageError
from engine.plan.tasktype import TaskContext

if TYPE_CHECKING:
    from engine.models.request import Message

_ROLES = ("system", "user", "assistant", "tool")


def conversation_of(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages as a plan writes them.

    ``{role, text}``; ``stable`` where the shared part ends; ``calls`` (``{id, name, arguments}``) of an assistant, and
    ``call_id`` of what a tool gave.
    """
    from engine.models.request import Message, ToolCall

    made = []
    for place, message in enumerate(messages, 1):
        role, text = message.get("role", "user"), message.get("text", message.get("content"))
        calls = message.get("calls") or ()
        if role not in _ROLES or not isinstance(text, str | None) or (text is None and not calls):
            raise Permanent(f"message {place} needs a text, and a role of {', '.join(_ROLES)}")
        if role == "tool" and not message.get("call_id"):
            raise Permanent(f"message {place} is what a tool gave, and needs the call_id that it answers")
        try:
            asked = tuple(ToolCall(str(call["id"]), str(call["name"]), dict(call["arguments"])) for call in calls)
        except (KeyError, TypeError, ValueError) as error:
            raise Permanent(f"message {place}: a call has id, name and arguments") from error
        call_id = str(message.get("call_id") or "")
        made.append(Message(role, text or "", bool(message.get("stable")), asked, call_id))
    return tuple(made)


def fitted(
    context: TaskContext, messages: tuple[Message, ...], model: str, room: int, limit: int | None = None
) -> tuple[tuple[Message, ...], int]:
    """The messages with old tool results masked if they need more than there is, and how many were.

    Parameters
    ----------
    model
        Whose tokens count.
    room
        Tokens that the model can take of them.
    limit
        Tokens that they may take, if that was said.

    Raises
    ------
    Permanent
        If they are longer with every result masked.
    """
    from engine.context.history import History
    from engine.models.tokens import MESSAGE_OVERHEAD, count

    most = min(room, limit or room)
    if sum(count(each.text, model) + MESSAGE_OVERHEAD for each in messages) <= most:
        return messages, 0
    history = History(model, most)
    names = {call.id: call.name for message in messages for call in message.calls}
    sent: tuple[Message, ...] = ()
    try:
        for message in messages:
            if message.role == "assistant":
                history.messages()  # the call that this was the answer to
            history.add(message, names.get(message.call_id, ""))
        sent = history.messages()
    except UsageError as error:
        raise Permanent(f"{error}: give less, or a model that takes more than {most:,} tokens") from error
    masked = sum(
        new.role == "tool" and new.text.startswith("[result ") and new.text != old.text
        for new, old in zip(sent, messages, strict=True)
    )
    context.log.info("left old tool results out", masked=masked, tokens=history.tokens, most=most)
    return sent, masked
