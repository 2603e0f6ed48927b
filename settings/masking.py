"""How secrets look when settings are shown: passwords in addresses and secret fields are replaced."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr

MASK = "********"
_SECRET_QUERY_KEYS = frozenset({"password", "passwd", "token", "secret", "key", "api_key", "access_key", "secret_key"})

_IN_ADDRESS = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s@]+(@)")


def mask_url(url: str) -> str:
    """``url`` with its password, and query values that look like secrets, replaced.

    A text that cannot be read as an address is masked whole: better to show too little.
    """
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return MASK
    netloc = parts.netloc
    if password is not None:
        netloc = netloc.replace(f":{password}@", f":{MASK}@", 1)
    query = parts.query
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(key.lower() in _SECRET_QUERY_KEYS for key, _ in pairs):
        query = urlencode(
            [(key, MASK if key.lower() in _SECRET_QUERY_KEYS else value) for key, value in pairs], safe="*"
        )
    if netloc == parts.netloc and query == parts.query:
        return url  # urlunsplit would turn sqlite:////x into sqlite:/x
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def mask_urls_in(text: str) -> str:
    """``text`` with the passwords of every address in it replaced."""
    return _IN_ADDRESS.sub(rf"\1{MASK}\2", text)


def masked(settings: BaseModel) -> dict[str, Any]:
    """Every field of ``settings`` as plain JSON data, secrets masked."""
    return {name: _masked_value(name, getattr(settings, name)) for name in type(settings).model_fields}


def _masked_value(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if name.endswith("_url") and isinstance(value, str):
        return mask_url(value)
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if isinstance(value, dict):
        return {key: mask_url(text) if isinstance(text, str) else text for key, text in value.items()}
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value)
