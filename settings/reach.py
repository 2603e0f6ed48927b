"""Settings that say what the shipped tasks may reach over the network: hosts, and databases by name."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import BaseModel, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from settings.forms import Names, Texts

LOCAL = "local"
"""The connection that is always there."""

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_CONNECTION = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CONNECTION_SCHEMES = ("sqlite:///", "postgresql://", "postgresql+psycopg://", "postgres://", "secret://")


class Reach(BaseModel):
    """What the shipped tasks may reach."""

    http_allow: Names = Field(
        default=(),
        description="Private places that the http tasks may reach: hosts (intra.example, *.corp.example), addresses "
        "or networks (10.1.0.0/16). Empty: public addresses only, because a plan could otherwise read what trusts "
        "this machine. Cloud metadata addresses stay closed whatever is named.",
    )
    sql_connections: Texts = Field(
        default_factory=dict,
        validate_default=True,
        description="Databases that the sql tasks may use, by name: shop=postgresql://…, or shop=secret://shop-url to "
        "keep the address among the secrets. `local` is always there: a SQLite file in home for the figures that "
        "plans keep from run to run, each host's own.",
    )

    @field_validator("http_allow")
    @classmethod
    def _places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        for place in places:
            try:
                ipaddress.ip_network(place)
            except ValueError as error:
                if "/" in place or not _HOST.fullmatch(place.lower()):
                    raise ValueError(f"{place!r} is neither a host, an address nor a network: {error}") from error
        return tuple(place.lower() for place in places)

    @field_validator("sql_connections")
    @classmethod
    def _connections(cls, connections: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name, url in connections.items():
            if not _CONNECTION.fullmatch(name):
                raise ValueError(f"{name!r} is not a connection's name: small letters, digits, _ and -, at most 64")
            if not url.startswith(_CONNECTION_SCHEMES):
                raise ValueError(f"connection {name!r} must begin with sqlite:///, postgresql:// or secret://")
        home = info.data.get("home", Path(".flywheel").absolute())
        return {LOCAL: f"sqlite:///{home}/{LOCAL}.db"} | connections
