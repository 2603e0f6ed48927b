"""``local/extractive``: real answers out of the given text alone, free, offline, the same every time.

It quotes and ranks; it writes nothing new and knows nothing of the world. What is asked is in the request's ``facts``
(``kind`` and its parts), as the task types put them there; else it is told from the messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import exp, sqrt
from typing import Any

from engine.models.catalogue import LOCAL, Model, Provider
from engine.models.progress import Progress
from engine.models.providers import fields
from engine.models.providers.client import Reply, Vectors
from engine.models.providers.sentences import centrality, ranked, sentences_of, similarity, words_of
from engine.models.request import Request
from engine.models.tokens import count

_DIMENSIONS = 256
_SENTENCES = 5
_SUPPORTED = 0.35
"""Likeness from which a passage supports a sentence."""

_NOTHING = "The text says nothing about this."

Facts = Mapping[str, Any]


def open_client(provider: Provider, key: str | None) -> Extractive:  # noqa: ARG001 - as any provider's
    """The model; ``key`` is none."""
    return Extractive()


class Extractive:
    """See ``Client``."""

    usage_form = "openai"

    def ask(self, model: Model, request: Request, progress: Progress) -> Reply:  # noqa: ARG002 - as any client
        """Answered by kind: ``summarise``, ``classify``, ``extract``, ``answer``, ``judge`` or ``plan``."""
        facts = request.facts if request.facts.get("kind") in _KINDS else _told(request)
        progress.check()
        said = _KINDS[str(facts["kind"])](facts)
        text, finish = _short(said if isinstance(said, str) else json.dumps(said, ensure_ascii=False), request)
        progress.wrote(text)
        read = sum(count(message.text, LOCAL) for message in request.messages)
        wrote = count(text, LOCAL)
        usage = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        return Reply(text, usage, finish)

    def embed(self, model: Model, texts: Sequence[str], progress: Progress) -> Vectors:  # noqa: ARG002 - as any client
        """Words hashed into 256 places, of length 1: like texts are near, meanings are not known."""
        read = sum(count(text, LOCAL) for text in texts)
        return Vectors([_vector(text) for text in texts], {"prompt_tokens": read, "total_tokens": read})

    def close(self) -> None:
        """Nothing is open."""


def summary(facts: Facts) -> str:
    """The sentences that say most of what the others say, in their order; a ``question`` draws its own nearer."""
    sentences = sentences_of(str(facts.get("text", "")))
    wanted = int(facts.get("sentences") or _SENTENCES)
    if len(sentences) <= wanted:
        return " ".join(sentences)
    scores = centrality(sentences)
    about = ranked(str(facts.get("question") or ""), sentences)
    top = max(about) or 1.0
    # A text's first sentences mostly say what it is about: a tenth for the first, fading.
    total = [
        score * len(sentences) + 2 * asked / top + 0.5 / (1 + place)
        for place, (score, asked) in enumerate(zip(scores, about, strict=True))
    ]
    kept: list[int] = []
    for place in sorted(range(len(sentences)), key=lambda each: (-total[each], each)):
        if all(similarity(sentences[place], sentences[other]) < 0.7 for other in kept):  # no sentence twice
            kept.append(place)
        if len(kept) == wanted:
            break
    return " ".join(sentences[place] for place in sorted(kept))


def label(facts: Facts) -> dict[str, Any]:
    """The label whose name, description and examples are nearest, with a share of all labels' nearness."""
    text = str(facts.get("text", ""))
    labels: Mapping[str, str] = facts["labels"]
    names = list(labels)
    described = [f"{name.replace('_', ' ').replace('-', ' ')} {labels[name]}" for name in names]
    scores = ranked(text, described)
    near = [similarity(text, each) for each in described]
    top = max(scores) or 1.0
    both = [score / top + 2 * alike for score, alike in zip(scores, near, strict=True)]
    best = max(range(len(names)), key=lambda place: (both[place], -place))
    if max(both) <= 0:
        default = facts.get("otherwise") or names[0]
        return {"label": default, "confidence": round(1 / len(names), 3), "reason": "no word of it is in any label"}
    weights = [exp(3 * (each - both[best])) for each in both]
    shared = sorted(set(words_of(text)) & set(words_of(described[best])))
    return {
        "label": names[best],
        "confidence": round(weights[best] / sum(weights), 3),
        "reason": f"shares {', '.join(shared[:8])}" if shared else "nearest",
    }


def answer(facts: Facts) -> str:
    """The sentences of the passages that answer best, each with its source."""
    question = str(facts.get("question", ""))
    found = [
        (sentence, str(passage.get("source") or ""))
        for passage in facts.get("passages", ())
        for sentence in sentences_of(str(passage.get("text", "")))
    ]
    scores = ranked(question, [sentence for sentence, _ in found])
    best = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: (-scores[place], place))
    if not best:
        return _NOTHING
    least = scores[best[0]] * 0.45
    kept = sorted(place for place in best[: int(facts.get("sentences") or 3)] if scores[place] >= least)
    return "\n".join(
        f"{sentence} [{source}]" if source else sentence for sentence, source in map(found.__getitem__, kept)
    )


def verdict(facts: Facts) -> dict[str, Any]:
    """How much of an answer its passages support, and how much of what is asked it speaks of."""
    said = sentences_of(str(facts.get("text", "")))
    passages = [sentence for each in facts.get("passages", ()) for sentence in sentences_of(str(each.get("text", "")))]
    asked = set(words_of(f"{facts.get('question', '')} {facts.get('criterion', '')}"))
    if not said or said == [_NOTHING]:
        return {"score": 0.0, "reason": "there is no answer"}
    spoken = set(words_of(" ".join(said)))
    covered = len(asked & spoken) / len(asked) if asked else 1.0
    if not passages:
        return {"score": round(min(1.0, covered), 3), "reason": f"speaks of {covered:.0%} of what is asked"}
    held = [max(similarity(sentence, passage) for passage in passages) >= _SUPPORTED for sentence in said]
    support = sum(held) / len(held)
    score = round(0.7 * support + 0.3 * covered, 3)
    return {
        "score": score,
        "reason": f"{support:.0%} of it is in the text, {covered:.0%} of what is asked is spoken of",
    }


def subtasks(facts: Facts) -> dict[str, Any]:
    """A goal's parts: its sentences and listed points, or one part for each ``about`` that is given."""
    goal = str(facts.get("goal", ""))
    parts = [part for sentence in sentences_of(goal) for part in sentence.split(";")]
    listed = [part.strip(" .;-*•") for part in parts]
    about = [str(each) for each in facts.get("about", ())]
    titles = [f"{goal} ({each})" for each in about] or [part for part in listed if part]
    most = int(facts.get("max_subtasks") or 8)
    return {"subtasks": [{"id": f"part{place}", "title": title} for place, title in enumerate(titles[:most], 1)]}


def extracted(facts: Facts) -> Any:
    """The fields of a schema that the text holds."""
    return fields.extracted(str(facts.get("text", "")), facts["schema"])


_KINDS: Mapping[str, Callable[[Facts], Any]] = {
    "summarise": summary, "classify": label, "extract": extracted, "answer": answer, "judge": verdict,
    "plan": subtasks,
}  # fmt: skip


def _told(request: Request) -> Facts:
    """What a request without facts asks: data by its schema, an answer to a question, else a summary."""
    texts = [message.text for message in request.messages if message.role != "system"]
    if request.schema is not None:
        return {"kind": "extract", "text": "\n\n".join(texts), "schema": request.schema}
    last = texts[-1] if texts else ""
    body, _, question = last.rpartition("\n")
    if last.rstrip().endswith("?"):
        passages = [{"text": text} for text in (*texts[:-1], body) if text.strip()]
        return {"kind": "answer", "question": question, "passages": passages}
    return {"kind": "summarise", "text": "\n\n".join(texts)}


def _short(text: str, request: Request) -> tuple[str, str]:
    """``text`` within the tokens that it may have, and how it finished."""
    if count(text, LOCAL) <= request.max_output_tokens:
        return text, "stop"
    if request.schema is not None:
        return text[: request.max_output_tokens * 3], "length"
    kept: list[str] = []
    for sentence in sentences_of(text):
        if count(" ".join([*kept, sentence]), LOCAL) > request.max_output_tokens:
            break
        kept.append(sentence)
    return " ".join(kept) or text[: request.max_output_tokens * 3], "length"


def _vector(text: str) -> list[float]:
    places = [0.0] * _DIMENSIONS
    for word in words_of(text):
        digest = blake2b(word.encode(), digest_size=3).digest()
        places[(digest[0] | digest[1] << 8) % _DIMENSIONS] += 1.0 if digest[2] & 1 else -1.0
    length = sqrt(sum(each * each for each in places)) or 1.0
    return [round(each / length, 6) for each in places]
