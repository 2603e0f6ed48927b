"""Which network addresses a plan may reach: public ones, and what the setting ``http_allow`` names.

A name is resolved once, every address of it must pass, and the caller connects to what was checked,
so that a name which answers differently the second time leads nowhere. Opens no connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from engine.errors import Permanent, Retryable

_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PASSING = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM})


async def addresses_of(host: str, port: int, allowed: Sequence[str]) -> tuple[str, ...]:
    """The addresses of ``host`` in the resolver's order, if all of them may be reached.

    Parameters
    ----------
    allowed
        Hosts, ``*.domain`` patterns, addresses and networks that may be reached though they are private.

    Raises
    ------
    Permanent
        If there is no such host, or one of its addresses may not be reached.
    Retryable
        If the resolver could not tell.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        reason = f"{host} cannot be resolved: {error.strerror}"
        raise (Retryable(reason) if error.errno in _PASSING else Permanent(reason)) from error
    except UnicodeError as error:
        raise Permanent(f"{host!r} is not a host's name: {error}") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        check(host, address, allowed)
    return addresses


def check(host: str, address: str, allowed: Sequence[str]) -> None:
    """Raise ``Permanent`` if ``address``, which is one of ``host``'s, may not be reached."""
    carried = _carried(ipaddress.ip_address(address.partition("%")[0]))
    if any(each in _METADATA for each in carried):
        raise Permanent(f"{host} leads to {address}, where clouds hand out credentials; no setting opens it")
    public = all(map(_is_public, carried))
    if not public and not _is_allowed(host, carried, allowed):
        raise Permanent(
            f"{host} leads to {address}, which is no public address; to allow it, name the host or its network in "
            "the setting http_allow (FLYWHEEL_HTTP_ALLOW)"
        )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    # Multicast, reserved and site-local addresses count as global in the standard library.
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or site_local)


def _carried(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """``address``, and the IPv4 address that an IPv6 one stands for or tunnels to."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    tunnelled = address.sixtofour or (address.teredo and address.teredo[1])
    return (address, tunnelled) if tunnelled else (address,)


def _is_allowed(host: str, carried: Sequence[IPv4Address | IPv6Address], allowed: Sequence[str]) -> bool:
    name = host.lower().rstrip(".")
    networks = []
    for place in allowed:
        try:
            networks.append(ipaddress.ip_network(place))
        except ValueError:
            if name == place or (place.startswith("*.") and name.endswith(place[1:])):
                return True
    return all(any(each in network for network in networks) for each in carried)
