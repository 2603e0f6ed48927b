"""Random plans, compiled: layers, chains, fan-outs, joins of every kind, conditions, fall-backs, retries.

What a plan's nodes come to depends on the seed alone, never on the order in which they end: where a
join may hold before every parent has ended, the step refers to none of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from engine.dag.compiled import ChildKind, ChildRuns, CompiledPlan, CompiledStep, Join, JoinKind, OnFailure
from engine.dag.guesses import with_guesses
from engine.plan.retry import RetryPolicy, Wait
from tests.simulation.bodies import GUESS, TRUTH

EAGER = (JoinKind.ANY, JoinKind.AT_LEAST)
QUEUES = ("io", "cpu")
_EFFECTS = ("none", "idempotent", "external")
_WAITS = (0.05, 0.3, 2.0, 8.0)


@dataclass(slots=True)
class _Draft:
    chance: random.Random
    most_items: int
    steps: list[CompiledStep] = field(default_factory=list)
    stand_ins: set[int] = field(default_factory=set)

    def add(self, step: CompiledStep) -> None:
        for parent in step.parents:
            known = self.steps[parent]
            self.steps[parent] = replace(known, children=(*known.children, step.no))
        self.steps.append(step)


def random_plan(
    chance: random.Random, version: str, most_steps: int = 8, most_items: int = 20, shape: str | None = None
) -> CompiledPlan:
    """A plan of some steps, sometimes wide, sometimes a chain."""
    draft = _Draft(chance, most_items=min(most_items, chance.choice((3, 5, 8, 20))))
    drawn = chance.choice(("mixed", "mixed", "chain", "wide"))
    shape = shape or drawn
    for _ in range(chance.randint(1, most_steps)):
        _add_step(draft, shape)
    steps = draft.steps
    names = {step.path: step.no for step in steps if step.no not in draft.stand_ins}
    return CompiledPlan("random", version, tuple(steps), _outputs(chance, steps, draft.stand_ins), names)


def _add_step(draft: _Draft, shape: str) -> None:
    chance, no = draft.chance, len(draft.steps)
    candidates = [step.no for step in draft.steps if step.no not in draft.stand_ins]
    if shape == "chain":
        parents = candidates[-1:]
    else:
        parents = sorted(chance.sample(candidates, min(len(candidates), chance.choice((0, 1, 1, 2, 3)))))
    join = _join(chance, parents)
    names = {draft.steps[parent].path: parent for parent in parents}
    sees = [] if join.kind in EAGER else parents
    step = CompiledStep(
        no=no, path=f"s{no}", task=f"t.{chance.choice(('plain', 'plain', 'rated', 'long'))}",
        with_={f"a{parent}": f"{{{{ steps.s{parent}.output }}}}" for parent in sees},
        names=names, reads=tuple(sees), parents=tuple(parents), join=join,
        max_parallel=chance.choice((None, None, 1, 2)), retry=_retry(chance),
        on_failure=OnFailure.CONTINUE if chance.random() < 0.25 else OnFailure.FAIL,
        queue=chance.choice(QUEUES), effects=chance.choice(_EFFECTS), pools=("db",) if chance.random() < 0.2 else (),
    )  # fmt: skip
    step = _fanned(draft, step, sees, often=shape == "wide")
    step = _conditional(draft, step, sees)
    falls_back = not step.fanned and chance.random() < 0.2
    if falls_back:
        step = replace(step, on_failure=OnFailure.FALL_BACK, fallback=no + 1)
    draft.add(step)
    if falls_back:
        _add_stand_in(draft, step)


def _add_stand_in(draft: _Draft, step: CompiledStep) -> None:
    number = step.no + 1
    draft.stand_ins.add(number)
    draft.add(
        CompiledStep(
            no=number, path=f"s{number}", task="t.plain", with_={"why": f"{{{{ steps.s{step.no}.state }}}}"},
            names={step.path: step.no}, reads=(step.no,), parents=(step.no,), fallback_of=step.no,
            retry=_retry(draft.chance), effects=draft.chance.choice(_EFFECTS), queue=step.queue,
        )
    )  # fmt: skip


def _join(chance: random.Random, parents: list[int]) -> Join:
    if not parents or chance.random() < 0.4:
        return Join()
    kind = chance.choice([kind for kind in JoinKind if kind is not JoinKind.UNTIL])
    return Join(kind, count=chance.randint(1, len(parents)), share=chance.choice((0.0, 0.3, 0.7)))


def _retry(chance: random.Random) -> RetryPolicy:
    if chance.random() < 0.4:
        return RetryPolicy()
    return RetryPolicy(
        attempts=chance.randint(2, 3), wait=chance.choice(list(Wait)), delay_s=chance.choice(_WAITS), max_delay_s=10.0,
        on=("Flaky", "WorkerLost") if chance.random() < 0.2 else None,
    )  # fmt: skip


def _fanned(draft: _Draft, step: CompiledStep, sees: list[int], *, often: bool) -> CompiledStep:
    chance = draft.chance
    if chance.random() > (0.8 if often else 0.4):
        return step
    own = {"it": "{{ item }}", "at": "{{ index }}"}
    upstream = [no for no in sees if draft.steps[no].join.kind not in EAGER]
    if upstream and chance.random() < 0.6:
        source = draft.steps[chance.choice(upstream)]
        over = (
            f"{{{{ steps.{source.path}.output }}}}" if source.fanned else f"{{{{ steps.{source.path}.output.list }}}}"
        )
        return replace(step, for_each=over, with_={**step.with_, **own})
    return replace(step, for_each=list(range(chance.randint(0, draft.most_items))), with_={**step.with_, **own})


def _conditional(draft: _Draft, step: CompiledStep, sees: list[int]) -> CompiledStep:
    chance = draft.chance
    if isinstance(step.for_each, list) and chance.random() < 0.3:
        return replace(step, when="item % 3 != 1", when_per_item=True)
    if not sees or chance.random() > 0.3:
        return step
    source = draft.steps[chance.choice(sees)].path
    asked = ("state == 'succeeded'", "error == null", "failed == 0", "count < 4")
    return replace(step, when=f"steps.{source}.{chance.choice(asked)}")


def _outputs(chance: random.Random, steps: list[CompiledStep], stand_ins: set[int]) -> Any:
    shown = [step for step in steps if step.no not in stand_ins and chance.random() < 0.6]
    if not shown:
        return None
    return {f"o{step.no}": f"{{{{ steps.{step.path}.output }}}}" for step in shown}


def plan_with_segments(chance: random.Random, version: str) -> CompiledPlan:
    """A plan, mostly a chain, with most of its plain steps such as may follow each other in one message."""
    plan = random_plan(chance, version, shape=chance.choice(("chain", "chain", "mixed")))
    tame = []
    for step in plan.steps:
        plain = not step.fanned and step.fallback is None and step.fallback_of is None
        if plain and chance.random() < 0.9:
            when = step.when if chance.random() < 0.2 else None
            step = replace(
                step, task="t.plain", queue="io", pools=(), join=Join(), when=when,
                effects=chance.choice(("none", "idempotent")),
            )  # fmt: skip
        tame.append(step)
    return replace(plan, steps=tuple(tame))


def with_child_runs(
    chance: random.Random, plan: CompiledPlan, plans: dict[str, CompiledPlan], depth: int = 1
) -> CompiledPlan:
    """``plan`` with some of its steps made runs of plans of their own, which are put into ``plans`` too.

    Such a step takes the output of its first parent that it sees for its inputs, or has a parent made
    for it that gives them.
    """
    steps = list(plan.steps)
    for step in plan.steps:
        seen = [no for no in step.reads if not steps[no].fanned]
        if step.fallback_of is not None or step.no in {each.fallback for each in steps} or chance.random() > 0.6:
            continue
        if step.fanned and not _is_whole(step, steps):
            continue
        given = _given(step, steps) if step.fanned else (seen[0] if seen else None)
        if given is None:
            continue
        version = f"{plan.version}.{step.no}"
        below = random_plan(chance, version, most_steps=4, most_items=3)
        if depth < 3 and chance.random() < 0.3:
            below = with_child_runs(chance, below, plans, depth + 1)
        plans[version] = below
        kind = ChildKind.LOOP if chance.random() < 0.4 else ChildKind.MAP
        child = ChildRuns(
            kind, given, below, {"inputs": {}}, until=chance.choice(("round >= 2", "False", "True")),
            rounds_max=chance.randint(1, 3),
        )  # fmt: skip
        steps[step.no] = replace(
            step, task="plan.run", child=child, queue="plan.run", effects="idempotent", pools=(), with_={},
            when=None if step.when_per_item else step.when, when_per_item=False,
        )  # fmt: skip
    return replace(plan, steps=tuple(steps))


def _is_whole(step: CompiledStep, steps: list[CompiledStep]) -> bool:
    return _given(step, steps) is not None


def _given(step: CompiledStep, steps: list[CompiledStep]) -> int | None:
    """The fan-out whose output the step goes over, node by node."""
    if not isinstance(step.for_each, str) or not step.for_each.endswith(".output }}"):
        return None
    name = step.for_each.removeprefix("{{ steps.").removesuffix(".output }}")
    source = steps[step.names[name]]
    return source.no if source.fanned else None


def with_bets(chance: random.Random, plan: CompiledPlan) -> CompiledPlan:
    """``plan`` with conditions that ask about what nothing else needs, and with guesses, right and wrong."""
    steps = list(plan.steps)
    names = dict(plan.names)
    for step in plan.steps:
        plain = not step.fanned and step.child is None and step.fallback_of is None
        if not plain or chance.random() < 0.1:
            continue
        steps[step.no] = step = replace(
            step, join=Join() if chance.random() < 0.5 else step.join, pools=(),
            effects=chance.choice(("none", "none", "none", "external")),
        )  # fmt: skip
        guessed = step.children and step.fallback is None and chance.random() < 0.5
        if not guessed and step.reads and chance.random() < 0.5:
            steps[step.no] = _on_condition(chance, step, steps)
        elif guessed:
            no = len(steps)
            told = {"of": step.path, "right": chance.random() < 0.5}
            steps[step.no] = replace(step, task=TRUTH, guess=no)
            names[f"g{step.no}"] = no
            steps.append(CompiledStep(no, f"g{step.no}", GUESS, told, effects="none", retry=_retry(chance)))
    return replace(plan, steps=with_guesses(tuple(steps)), names=names, value_of_time_usd_per_h=36.0)


def _on_condition(chance: random.Random, step: CompiledStep, steps: list[CompiledStep]) -> CompiledStep:
    """The step asks about a parent in its condition, and for nothing else of it."""
    asked = chance.choice(step.reads)
    name = steps[asked].path
    value = f"steps.{name}.count" if steps[asked].fanned or steps[asked].child else f"steps.{name}.output.r"
    return replace(
        step, when=f"steps.{name}.state == 'succeeded' and {value} % 4 != 1", condition_parents=(asked,),
        reads=tuple(no for no in step.reads if no != asked),
        with_={key: text for key, text in step.with_.items() if key != f"a{asked}"},
    )  # fmt: skip
