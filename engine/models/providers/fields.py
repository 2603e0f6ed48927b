"""Fields of a simple JSON Schema found in a text by name and form: dates, amounts, addresses, ``name: value``. Pure.

What is not found is ``None``: nothing is ever made up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from engine.models.providers.sentences import ranked, sentences_of, words_of

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_URL = re.compile(r"https?://[^\s<>\"')\]]+")
_PHONE = re.compile(r"(?<!\w)\+?\d[\d ()/.-]{6,}\d(?!\w)")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:[,  ]\d{3})+(?:\.\d+)?(?![\w])|(?<![\w.])[-+]?\d+(?:\.\d+)?(?!\w)")
_MONEY = re.compile(
    r"(?:[$€£¥]|\b(?:USD|EUR|GBP|CHF)\s)\s?(\d{1,3}(?:[,  ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"|(\d{1,3}(?:[,  ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s?(?:[$€£¥]|(?:USD|EUR|GBP|CHF|dollars?|euros?)\b)"
)
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
_DATES = (
    re.compile(r"\b(?P<year>\d{4})-(?P<number>\d{1,2})-(?P<day>\d{1,2})\b"),
    re.compile(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?{_MONTH},?\s+(?P<year>\d{{4}})\b"),
    re.compile(rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})\b"),
    re.compile(r"\b(?P<day>\d{1,2})\.(?P<number>\d{1,2})\.(?P<year>\d{4})\b"),
)
_MONEY_NAMES = frozenset(
    ("amount", "total", "price", "cost", "sum", "fee", "charge", "refund", "balance", "paid", "due", "salary", "budget")
)
_DATE_NAMES = frozenset(("date", "day", "due", "deadline", "when", "until", "since", "born", "expires"))
_NO = re.compile(r"\b(?:not?|never|without|cannot|n't|none)\b|n't\b", re.IGNORECASE)
_NO_VALUES = frozenset({"no", "false", "off", "0", "none", "n"})
_LISTED = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+)$", re.MULTILINE)


def extracted(text: str, schema: Mapping[str, Any], name: str = "", hint: str = "") -> Any:
    """The value of ``schema``'s form that ``text`` holds; ``None`` if it holds none.

    Parameters
    ----------
    name, hint
        The field's name and description.
    """
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return _one_of(text, schema["enum"], name)
    kind = _kind(schema)
    hint = str(schema.get("description", hint))
    if kind == "object":
        return _object(text, schema)
    if kind == "array":
        return _many(text, schema, name, hint)
    if kind in ("integer", "number"):
        return _number(text, name, hint, whole=kind == "integer")
    if kind == "boolean":
        return _truth(text, name, hint)
    return _string(text, schema, name, hint)


def _object(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    found = {}
    for name, each in schema.get("properties", {}).items():
        value = extracted(text, each, name)
        if value is None and _kind(each) == "string" and name in required and not _takes_null(each):
            value = ""
        if value is not None or name in required:
            found[name] = value
    return found


def _many(text: str, schema: Mapping[str, Any], name: str, hint: str) -> list[Any]:
    item = schema.get("items", {})
    finder = _finder(item, name, hint)
    if finder is not None:
        found = list(dict.fromkeys(finder(text)))
    elif item.get("enum"):
        found = [value for value in item["enum"] if _mentioned(text, str(value))]
    elif _kind(item) == "object":
        found = [extracted(part, item) for part in _LISTED.findall(text)]
    else:
        line = _labelled(text, name)
        listed = [part.strip(" .") for part in re.split(r"[,;]", line)] if line else _LISTED.findall(text)
        found = [part for part in listed if part] or _best_sentences(text, f"{name} {hint}", 3)
    return found[: int(schema.get("maxItems", len(found)))]


def _number(text: str, name: str, hint: str, *, whole: bool) -> float | int | None:
    line = _labelled(text, name)
    if line is not None and (numbers := _NUMBER.findall(line)):
        return _as_number(numbers[0], whole)
    if _names(name, hint) & _MONEY_NAMES and (amounts := _amounts(text)):
        near = _near(text, name, hint, _amounts)
        return _rounded(near if near is not None else amounts[0], whole)
    near_number = _near(text, name, hint, lambda part: [_as_number(each, whole) for each in _NUMBER.findall(part)])
    return _rounded(near_number, whole)


def _truth(text: str, name: str, hint: str) -> bool:
    line = _labelled(text, name)
    if line is not None:
        return line.strip().lower().split(" ")[0].strip(".,") not in _NO_VALUES
    best = _best_sentences(text, f"{_spaced(name)} {hint}", 1)
    return bool(best) and not _NO.search(best[0])


def _string(text: str, schema: Mapping[str, Any], name: str, hint: str) -> str | None:
    finder = _finder(schema, name, hint)
    if finder is not None:
        near = _near(text, name, hint, finder)
        found = finder(text)
        return str(near) if near is not None else (found[0] if found else None)
    if schema.get("pattern"):
        match = re.search(str(schema["pattern"]).strip("^$"), text)
        return match.group(0) if match else None
    line = _labelled(text, name)
    best = [line] if line is not None else _best_sentences(text, f"{_spaced(name)} {hint}", 1)
    longest = schema.get("maxLength")
    return best[0][:longest] if best else None


def _finder(schema: Mapping[str, Any], name: str, hint: str) -> Callable[[str], list[Any]] | None:
    """What finds values of a form that can be told by their looks."""
    form, names = str(schema.get("format", "")), _names(name, hint)
    if form == "email" or names & {"email", "mail"}:
        return _EMAIL.findall
    if form in ("uri", "url") or names & {"url", "link", "website"}:
        return _URL.findall
    if form == "date" or (names & _DATE_NAMES and _kind(schema) == "string" and not names & _MONEY_NAMES):
        return dates_of
    if names & {"phone", "telephone", "mobile"}:
        return lambda text: [found.strip() for found in _PHONE.findall(text)]
    if _kind(schema) in ("integer", "number"):
        whole = _kind(schema) == "integer"
        return lambda text: [_as_number(each, whole) for each in _NUMBER.findall(text)]
    return None


def dates_of(text: str) -> list[str]:
    """Days that ``text`` names, as ISO dates in its order. 3.4.2026 is read as the third of April."""
    found = []
    for pattern in _DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = _month(parts.get("month")) if parts.get("month") else int(parts["number"])
            try:
                day = date(int(parts["year"]), month, int(parts["day"]))
            except ValueError:
                continue
            found.append((match.start(), day.isoformat()))
    return [day for _, day in sorted(found)]


def _amounts(text: str) -> list[float]:
    return [float(re.sub(r"[,  ]", "", left or right)) for left, right in _MONEY.findall(text)]


def _month(name: str | None) -> int:
    low = (name or "").lower()
    return next((place for place, month in enumerate(_MONTHS, 1) if low == month or low == month[:3]), 0)


def _near(text: str, name: str, hint: str, find: Callable[[str], Sequence[Any]]) -> Any:
    """The first value in the best line or sentence that speaks of the field; ``None`` if none does."""
    parts = [part for part in sentences_of(text) if find(part)]
    scores = ranked(f"{_spaced(name)} {hint}", parts) if parts else []
    best = max(range(len(parts)), key=lambda place: (scores[place], -place), default=None)
    if best is None or scores[best] <= 0:
        return None
    found = find(parts[best])
    return found[0] if found else None


def _labelled(text: str, name: str) -> str | None:
    """What stands behind ``name:`` at a line's or sentence's beginning."""
    words = _spaced(name).split()
    if not words:
        return None
    label = r"[\s_-]*".join(re.escape(word) for word in words)
    match = re.search(
        rf"(?im)(?:^|[.;|,(]\s*)[\s>*•\"'-]*{label}[\"'*]*\s*[:=–]\s*[\"']?(.+?)[\"']?\s*(?:$|[;|]\s)", text
    )
    return match.group(1).strip() if match else None


def _one_of(text: str, values: Sequence[Any], name: str) -> Any:
    line = _labelled(text, name) if name else None
    named = [value for value in values if isinstance(value, str) and _mentioned(line or text, value)]
    if named:
        return named[0]
    scores = ranked(text, [_spaced(str(value)) for value in values])
    best = max(range(len(values)), key=lambda place: (scores[place], -place))
    return values[best] if scores[best] > 0 else None


def _best_sentences(text: str, query: str, count: int) -> list[str]:
    sentences = sentences_of(text)
    scores = ranked(query, sentences)
    best = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: -scores[place])[:count]
    return [sentences[place] for place in sorted(best)]


def _mentioned(text: str, value: str) -> bool:
    return re.search(rf"(?i)(?<!\w){re.escape(value)}(?!\w)", text) is not None


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kinds = kind if isinstance(kind, list) else [kind]
    return str(next((each for each in kinds if each != "null"), "string"))


def _takes_null(schema: Mapping[str, Any]) -> bool:
    return isinstance(schema.get("type"), list) and "null" in schema["type"]


def _names(name: str, hint: str) -> set[str]:
    return set(_spaced(name).lower().split()) or set(words_of(hint))


def _spaced(name: str) -> str:
    return re.sub(r"[_\-.]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)).lower()


def _as_number(text: str, whole: bool) -> float | int:
    value = float(re.sub(r"[,  ]", "", text))
    return int(value) if whole or value.is_integer() else value


def _rounded(value: float | int | None, whole: bool) -> float | int | None:
    return None if value is None else int(value) if whole or float(value).is_integer() else value
