"""What it means that a provider did not answer, in words that say where, what came, and what to do about it.

Pure: a status, headers and a text come in, a ``ProviderFailure`` comes out. Texts of providers are bounded, and what
looks like a key in them is masked; where a key was refused they are left out, as some quote a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.models.catalogue import Model, Provider
from engine.models.failures import ProviderFailure, delay_asked_s

_PASSING = frozenset({408, 409, 425, 429})
_SAID_MAX, _TITLE_MAX = 500, 120
_WHERE = "the file that FLYWHEEL_ECONOMY names"

_KEY = re.compile(r"(?i)\bbearer\s+\S+|\b(?:sk|pk|rk|key|gsk|xai|hf|AIza)[-_]?[A-Za-z0-9*_-]{12,}")
_TITLE = re.compile(r"(?is)<title[^>]*>(.*?)</title>")
_HTML = re.compile(r"(?i)\s*(?:<!doctype html|<html|<head|<body)")

_BROKE = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_NO_CREDIT = re.compile(r"(?i)credit balance is too low|insufficient (?:balance|credits)")
_FILTER = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
_TOO_LONG = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"maximum context length is (?P<most>[\d,]+).*?(?:resulted in|requested)\D{0,20}(?P<wanted>[\d,]+)",
        r"(?P<wanted>[\d,]+) tokens > (?P<most>[\d,]+)",
        r"context limit: (?P<wanted>[\d,]+) \+ (?P<more>[\d,]+) > (?P<most>[\d,]+)",
        r"token count \((?P<wanted>[\d,]+)\) exceeds the maximum number of tokens allowed \((?P<most>[\d,]+)\)",
        r"context.{0,20}(?:length|window|limit).{0,40}exceed|exceed.{0,40}context.{0,20}(?:length|window|limit)",
        r"prompt is too long|input is too long|request too large",
    )
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a provider answered in place of what was asked.

    Parameters
    ----------
    status
        Its HTTP status.
    said
        Its own message, or the whole text where it sent no message.
    code
        Its own word for what is wrong; empty if it has none.
    headers
        Of its answer, names in small letters.
    """

    status: int
    said: str = ""
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def place_of(provider: Provider) -> str:
    """Who was asked and where, as every message begins."""
    return f"{provider.name} ({provider.address})"


def masked(text: str, key: str | None = None) -> str:
    """``text`` without ``key``, and without what looks like one."""
    return _KEY.sub("***", text.replace(key, "***") if key else text)


def refused(
    provider: Provider, refusal: Refusal, model: Model | None = None, key: str | None = None
) -> ProviderFailure:
    """The failure of an answer that is none.

    Parameters
    ----------
    model
        Who was asked, if it was a model.
    key
        What was sent with it, to be masked.
    """
    status, place = refusal.status, place_of(provider)
    said = _words(masked(refusal.said, key))
    passing = status in _PASSING or status >= 500
    told = f"{place} answered {status}{f': {said}' if said else ''}"
    if refusal.code in _BROKE or status == 402 or _NO_CREDIT.search(said):
        message, passing = f"{told}: its account has no credit left; top it up, then `flywheel runs retry`", False
    elif status in (401, 403):
        message = _key_refused(provider, refusal, said if _HTML.match(refusal.said) else "")
    elif refusal.code.lower() in _FILTER:
        message = f"{told}: its content filter let the request not through; change what is asked, or ask another model"
    elif status in (400, 413, 422, 429) and (found := _too_long(said, refusal.code)):
        message, passing = f"{told}. {_does_not_fit(model, found)}", False
    elif status == 413:
        message = f"{told}: the request is too large for it; give less context, or fewer texts in one call"
    elif 300 <= status < 400:
        message = f"{told}, which leads to {_elsewhere(refusal)}; with a key no redirect is followed: {_url(provider)}"
    elif status in (404, 405):
        of = f" {model.name!r}" if model is not None else ""
        ends = f" (announced to end on {model.ends})" if model is not None and model.ends else ""
        message = f"{told}: it has no such model{of}{ends}, or no such address; check the name, or {_url(provider)}"
    else:
        message = told
    return ProviderFailure(message, passing=passing, delay_s=delay_asked_s(refusal.headers), status=status)


def no_api(provider: Provider, kind: str, text: str) -> ProviderFailure:
    """It answered 200 with a page for people: what is there is not the provider's interface, or a proxy is between."""
    message = (
        f"{place_of(provider)} answered 200 with {_words(text) or kind}, not an answer of its API: {_url(provider)}"
    )
    return ProviderFailure(f"{message}, and any proxy on the way", passing=False, status=200)


def unreadable(provider: Provider, what: str) -> ProviderFailure:
    """It answered 200 with something that is not of its form, or broke off within it."""
    message = f"{place_of(provider)} gave an answer that cannot be read: {_words(masked(what))}"
    return ProviderFailure(message, passing=True, billed=True)


def late(provider: Provider) -> ProviderFailure:
    """It took longer than the connection may wait."""
    message = f"{place_of(provider)} did not answer in time; `timeout_s` of providers.{provider.name} says how long"
    return ProviderFailure(message, passing=True, billed=True)


def unreached(provider: Provider, why: BaseException | None, *, sent: bool) -> ProviderFailure:
    """No connection, or one that broke after the request was ``sent``."""
    told = _words(masked(str(why or "")))[:200]
    because = f" ({told})" if told else ""
    if sent:
        return ProviderFailure(f"{place_of(provider)} broke the connection{because}", passing=True, billed=True)
    do = f"see that it runs and that workers may connect; {_url(provider)}"
    return ProviderFailure(f"{place_of(provider)} cannot be reached{because}: {do}", passing=True)


def broken_off(provider: Provider) -> ProviderFailure:
    """The connection closed in good order, but the answer is not whole."""
    return ProviderFailure(f"{place_of(provider)}: the answer broke off before its end", passing=True, billed=True)


def _key_refused(provider: Provider, refusal: Refusal, page: str) -> str:
    place = place_of(provider)
    if provider.key is None:
        return (
            f"{place} refused the call ({refusal.status}), which had no key: none is declared; say `key: NAME` for "
            f"providers.{provider.name} in {_WHERE}, and set FLYWHEEL_SECRET_NAME where workers run"
        )
    variable = f"FLYWHEEL_SECRET_{provider.key.upper()}"
    if refusal.status == 401:
        do = f"set {variable} where workers run to a key that is valid there"
    else:
        do = f"the key in {variable} may not use this model, project or region, or a proxy is in the way"
    came = f" with {page}" if page else ""
    return f"{place} refused the call ({refusal.status}){came} with secret {provider.key!r}: {do}"


def _too_long(said: str, code: str) -> re.Match[str] | None:
    found = next((match for pattern in _TOO_LONG if (match := pattern.search(said))), None)
    return found if found is not None or "context_length" not in code else re.match("", said)


def _does_not_fit(model: Model | None, found: re.Match[str]) -> str:
    parts = {name: int(text.replace(",", "")) for name, text in found.groupdict().items() if text}
    do = "give less context, fewer output tokens, or a model that takes more"
    if "most" not in parts:
        listed = f", which takes {model.context_tokens:,} tokens by the catalogue" if model is not None else ""
        return f"The text does not fit{f' {model.id}' if model is not None else ''}{listed}: {do}"
    wanted, most = parts["wanted"] + parts.get("more", 0), parts["most"]
    if model is not None and model.context_tokens > most:
        do += f"; say `context_tokens: {most}` for models.{model.id} in {_WHERE}"
    return f"The call wants {wanted:,} tokens and {most:,} are allowed: {do}"


def _url(provider: Provider) -> str:
    return f"check `base_url` of providers.{provider.name} in {_WHERE}"


def _elsewhere(refusal: Refusal) -> str:
    return refusal.headers.get("location", "nowhere").partition("?")[0][:200]


def _words(text: str) -> str:
    """A text in one bounded line; of a page for people its title."""
    if _HTML.match(text):
        found = _TITLE.search(text)
        title = " ".join(found.group(1).split())[:_TITLE_MAX] if found else ""
        return f"an HTML page {title!r}" if title else "an HTML page"
    return " ".join(text.split())[:_SAID_MAX]
