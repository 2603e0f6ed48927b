"""Settings that say what tasks may do and what people see: shell, logs, Flower."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from settings.forms import Names


class Rights(BaseModel):
    """What the shipped tasks may do."""

    shell_allowed: bool = Field(
        default=False,
        description="Whether shell.run may start programs. Off, because a plan would then run as you.",
    )
    shell_programs: Names = Field(
        default=(),
        description="Programs that shell.run may start, if it is allowed at all. Empty: any.",
    )
    python_call_modules: Names = Field(
        default=(),
        description="Modules whose functions python.call may call; `shop` allows shop.prices too. Empty: none, "
        "because whoever may submit a plan would then run any code that is installed.",
    )


class Faces(BaseModel):
    """What people see."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line that schedulers and workers log."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="Form of log lines; auto is text on a terminal and JSON elsewhere."
    )
    retention_days: float = Field(
        default=30.0,
        ge=0,
        description="Days that `flywheel runs prune` keeps finished runs, unless told otherwise.",
    )
    flower_address: str = Field(
        default="127.0.0.1",
        description="Address Flower binds. Loopback, because Flower leaves its metrics open whatever the password.",
    )
    flower_port: int = Field(default=5555, ge=1, le=65535, description="TCP port Flower listens on; its own default.")
    flower_auth: SecretStr | None = Field(
        default=None,
        description="USER:PASSWORD for Flower. None: one is made up at each start and printed.",
    )
    flower_read_only: bool = Field(
        default=True,
        description="Whether Flower may only look. Revoking there goes around the engine: use `flywheel runs cancel`.",
    )

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("flower_auth")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(value.get_secret_value().partition(":")):
            raise ValueError("must be USER:PASSWORD")
        return value
