"""What the installation says of steps by class: the sections `classes` and `routing`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClassSection(BaseModel):
    """How the steps of one class are cared for."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    strength: float = Field(
        default=0.0, ge=0, le=1, description="The catalogue's strength that a model needs to be asked first."
    )
    quality: float | None = Field(
        default=None, ge=0, le=1, description="Chance of passing that is wanted where the step states no `quality`."
    )
    judge: str | None = Field(
        default=None,
        max_length=4000,
        description="Criterion by which a judge looks at results of steps that state no check; none by default.",
    )
    sample: float = Field(default=1.0, ge=0, le=1, description="Share of those results that the judge looks at.")
    votes: int = Field(
        default=1, ge=1, le=15, description="Answers that are asked for, of which the commonest counts; data only."
    )
    reviews: int = Field(
        default=0, ge=0, le=3, description="Passes in which a judge says what is wrong and the answer is revised."
    )
    escalations: int = Field(
        default=2, ge=0, le=5, description="How often a stronger model is asked after a check fails."
    )
    breadth: int = Field(
        default=1,
        ge=1,
        le=15,
        description="Different answers that are asked for, of which the one with the best check is taken.",
    )


class ClassesSection(BaseModel):
    """The classes of steps. A step says which with `importance`; else rules tell, see `docs/routing.md`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    critical: ClassSection = Field(default_factory=lambda: ClassSection(strength=0.7, quality=0.9, escalations=3))
    standard: ClassSection = Field(default_factory=ClassSection)
    routine: ClassSection = Field(default_factory=lambda: ClassSection(escalations=1))
    exploratory: ClassSection = Field(default_factory=lambda: ClassSection(breadth=3, escalations=0))

    def of(self, name: str) -> ClassSection:
        """The section of that class."""
        found: ClassSection = getattr(self, name)
        return found


class RoutingSection(BaseModel):
    """How models are chosen where no step pins one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    learn_from_texts: bool = Field(
        default=True, description="Whether texts of checked results are learned from; needs the extra `router`."
    )
    ask_for_class: bool = Field(
        default=False, description="Whether the cheapest model is asked for the class of a step that no rule tells."
    )
    command_s: float = Field(default=60.0, gt=0, le=3600, description="Seconds that a `command` check may take.")
