"""Where a key may be sent: the host that was declared, at an address that may be reached.

Opens no connection. Addresses come from settings, never from plans, so a name is looked up again now and then
rather than pinned.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from urllib.parse import urlsplit

from engine.errors import Permanent, Retryable
from engine.models.catalogue import Provider

_KEPT_S = 60.0
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")
)
_known: dict[tuple[str, bool, bool], float] = {}


def check_host(provider: Provider) -> None:
    """Raise ``Permanent`` if the provider's host is at an address that may not be reached.

    Public addresses may; loopback if the address that was declared says so itself; others if the provider is
    declared ``private``; those where clouds hand out credentials never. A key crosses no network in the clear:
    http is for loopback and private hosts, or without a key.
    """
    key = (provider.base_url, provider.private, provider.key is not None)
    if _known.get(key, 0.0) > time.monotonic():
        return
    parts = urlsplit(provider.base_url)
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(
            host, parts.port or (443 if parts.scheme == "https" else 80), type=socket.SOCK_STREAM
        )
    except socket.gaierror as error:
        raise Retryable(
            f"{provider.name} ({provider.address}): {host} cannot be resolved: {error.strerror}; check `base_url` of "
            f"providers.{provider.name} in the file that FLYWHEEL_ECONOMY names, and the workers' DNS"
        ) from error
    for entry in found:
        _check(provider, host, str(entry[4][0]), parts.scheme)
    _known[key] = time.monotonic() + _KEPT_S


def _check(provider: Provider, host: str, text: str, scheme: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    carried = getattr(address, "ipv4_mapped", None) or address
    if carried in _METADATA:
        raise Permanent(f"{provider.name}: {host} leads to {text}, where clouds hand out credentials")
    local = carried.is_loopback and _names_loopback(host)
    if not (carried.is_global or local or provider.private):
        raise Permanent(
            f"{provider.name}: {host} leads to {text}, which is no public address; say private: true for "
            f"providers.{provider.name} in the file that FLYWHEEL_ECONOMY names, if it is meant"
        )
    if scheme == "http" and provider.key and not (local or provider.private):
        raise Permanent(f"{provider.name}: its key would cross the network in the clear; use https")


def _names_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
