"""Edges: what each step waits for, worked out of its references, ``after``, joins and fall-backs."""

from __future__ import annotations

from typing import Any

from engine.dag.compiled import Join, JoinKind
from engine.dag.drafts import Draft, Problems, Scope
from engine.dag.guesses import connect_guess
from engine.dag.inline import LEAVE_TASK
from engine.errors import UsageError
from engine.plan import expressions
from engine.plan.clauses import FallBack
from engine.plan.document import Loc
from engine.plan.references import NOTHING, References
from engine.plan.templates import has_template, lone_reference, placed_texts, references, texts

_LENIENT = (JoinKind.ANY, JoinKind.AT_LEAST, JoinKind.TOLERATE, JoinKind.UNTIL)
_ENTERED = "inputs"
_IF_ENTERED = f"steps.{_ENTERED}.state == 'succeeded'"


def connect(drafts: list[Draft], scopes: list[Scope], problems: Problems) -> None:
    """Give every draft its parents, names and fall-back."""
    for draft in drafts:
        if problems.full:
            return
        _follow_references(draft, problems)
        _follow_after(draft, problems)
    _connect_sub_plans(drafts, scopes)
    for position, draft in enumerate(drafts):
        _connect_fallback(position, draft, drafts, problems)
    for position, draft in enumerate(drafts):
        _check_join(draft, problems)
        connect_guess(position, draft, drafts, problems)
    _refuse_use_of_fallbacks(drafts, problems)


def check_outputs(scope: Scope, problems: Problems) -> dict[str, int]:
    """What ``steps.NAME`` means in a plan's outputs."""
    names: dict[str, int] = {}
    outputs, where = scope.plan.outputs, (*scope.where, "outputs")
    for loc, text in placed_texts(outputs, where):
        if lone_reference(text) is None:
            problems.add(f"{text[:80]!r} is no lone reference: an output is a literal or one reference", loc)
    found = references(outputs)
    if not _hold(found, scope, fanned=False):
        _blame(outputs, where, scope, problems, fanned=False)
    for name in found.steps:
        if name in scope.names:
            names[name] = scope.names[name]
    return names


def _follow_references(draft: Draft, problems: Problems) -> None:
    step, scope, where = draft.step, draft.scope, draft.where
    if draft.child is not None:
        _sampled(draft, problems)
        return  # it refers to its inputs only, and was made so
    if draft.task == LEAVE_TASK:
        draft.names.update(check_outputs(scope, problems))
        draft.reads.update(draft.names.values())
        draft.parents.update(draft.names.values())
        draft.reads_inputs = _inputs_read(references(draft.with_), scope)
        return
    fanned = step.for_each is not None
    arguments = references(draft.with_)
    if not _hold(arguments, scope, fanned=fanned):
        _blame(draft.with_, (*where, "with"), scope, problems, fanned=fanned)
    draft.reads_inputs = _inputs_read(arguments, scope)
    condition = items = NOTHING
    if draft.when is not None:
        condition = expressions.references(draft.when)
        if not _hold(condition, scope, fanned=fanned):
            _tell(condition, (*where, "when"), scope, problems, fanned=fanned)
        draft.when_per_item = fanned and condition.uses_item
    if fanned:
        items = references(step.for_each)
        if not _hold(items, scope, fanned=False):
            _blame(step.for_each, (*where, "for_each"), scope, problems, fanned=False)
    until = _sampled(draft, problems)
    for found, read in ((arguments, True), (condition, False), (items, False), (until, False)):
        for name in found.steps:
            position = scope.names.get(name)
            if position is None:
                continue
            draft.names[name] = position
            draft.parents.add(position)
            if read:
                draft.reads.add(position)
    if condition is not NOTHING:
        only = condition.steps - arguments.steps - items.steps
        draft.asked = frozenset(scope.names[name] for name in only if name in scope.names)
    if isinstance(step.for_each, list) and step.max_items is not None and len(step.for_each) > step.max_items:
        problems.add(f"it has {len(step.for_each):,} items, and may have {step.max_items:,}", (*where, "for_each"))
    if isinstance(step.for_each, list) and any(has_template(text) for text in texts(step.for_each)):
        problems.add("a list written out holds no templates: refer to one list instead", (*where, "for_each"))


def _sampled(draft: Draft, problems: Problems) -> References:
    """What a join's own expression refers to; checks what the step says of samples."""
    step, scope, where = draft.step, draft.scope, draft.where
    for place, text, known in (
        (("enough",), step.enough, ("outputs", "count", "failed", "inputs")),
        (("vote", "ballot"), step.vote.ballot if step.vote is not None else None, ("output",)),
    ):
        if text is not None:
            check_names(text, known, (*where, *place), problems)
    if draft.join.kind is not JoinKind.UNTIL:
        return NOTHING
    found = expressions.references(draft.join.until)
    if not _hold(found, scope, fanned=False):
        _tell(found, (*where, "join", "until"), scope, problems, fanned=False)
    return found


def check_names(expression: str, known: tuple[str, ...], where: Loc, problems: Problems) -> None:
    """Tell what an expression that sees only some names asks for besides."""
    try:
        unknown = sorted(expressions.names(expression) - set(known))
    except UsageError as error:
        problems.add(str(error), where)
        return
    for name in unknown:
        problems.add_unknown(f"this expression knows {', '.join(known)}, not", name, known, where)


def condition_names(expression: str | None, key: str, scope: Scope, problems: Problems) -> dict[str, int]:
    """What ``steps.NAME`` means in a condition of the whole plan, checked."""
    if expression is None:
        return {}
    found = expressions.references(expression)
    if not _hold(found, scope, fanned=False):
        _tell(found, (*scope.where, key), scope, problems, fanned=False)
    return {name: scope.names[name] for name in sorted(found.steps) if name in scope.names}


def _hold(found: References, scope: Scope, *, fanned: bool) -> bool:
    """Whether everything referred to is there."""
    if found is NOTHING:
        return True
    known = found.steps <= scope.names.keys() and found.inputs <= scope.plan.inputs.keys()
    return known and not found.problems and (fanned or not found.uses_item)


def _blame(tree: Any, where: Loc, scope: Scope, problems: Problems, *, fanned: bool) -> None:
    """Tell what is wrong with the templates in ``tree``, each at its own place."""
    for loc, text in placed_texts(tree, where):
        if problems.full:
            return
        _tell(references(text), loc, scope, problems, fanned=fanned)


def _tell(found: References, loc: Loc, scope: Scope, problems: Problems, *, fanned: bool) -> None:
    for problem in found.problems:
        problems.add(problem, loc)
    for name in sorted(found.steps - scope.names.keys()):
        problems.add_unknown("there is no step", name, scope.names, loc)
    for name in sorted(found.inputs - scope.plan.inputs.keys()):
        problems.add_unknown("there is no input", name, scope.plan.inputs, loc)
    if found.uses_item and not fanned:
        problems.add("'item' and 'index' mean something only in a step with for_each", loc)


def _inputs_read(found: References, scope: Scope) -> frozenset[str]:
    return frozenset(scope.plan.inputs) if found.all_inputs else found.inputs & scope.plan.inputs.keys()


def _follow_after(draft: Draft, problems: Problems) -> None:
    for number, name in enumerate(draft.step.after):
        position = draft.scope.names.get(name)
        if position is None:
            problems.add_unknown("there is no step", name, draft.scope.names, (*draft.where, "after", number))
        else:
            draft.parents.add(position)
            draft.asked -= {position}


def _connect_sub_plans(drafts: list[Draft], scopes: list[Scope]) -> None:
    """Make inner steps wait for the entering step, and the leaving step for what is inside."""
    for scope in scopes:
        if scope.enter is None or scope.leave is None:
            continue
        children = _children_inside(scope, drafts)
        for first, _ in scope.ends:
            draft = drafts[first]
            if not any(parent in children for parent in draft.parents):
                draft.parents.add(scope.enter)
            if draft.join.kind is JoinKind.ALL_DONE:
                # Its parents are done as well where the whole sub-plan was skipped.
                draft.names[_ENTERED] = scope.enter
                draft.when = _IF_ENTERED if draft.when is None else f"{_IF_ENTERED} and ({draft.when})"
        sinks = {last for last, below in children.items() if not below and not _stands_in(last, scope, drafts)}
        leaving = drafts[scope.leave]
        leaving.parents |= sinks
        watched = _watched(scope.enter, scope.leave, drafts)
        if any(drafts[position].when is not None for position in range(scope.enter + 1, scope.leave)):
            _leave_unless_failed(leaving, scope.enter, watched, drafts)


def _children_inside(scope: Scope, drafts: list[Draft]) -> dict[int, list[int]]:
    """Steps of one sub-plan, by the position that others see, with those that wait for each."""
    children: dict[int, list[int]] = {last: [] for _, last in scope.ends}
    for first, _ in scope.ends:
        for parent in {parent for parent in drafts[first].parents if parent in children}:
            children[parent].append(first)
    return children


def _stands_in(position: int, scope: Scope, drafts: list[Draft]) -> bool:
    wanted = (drafts[first].step.on_failure for first, _ in scope.ends)
    return any(isinstance(clause, FallBack) and scope.names.get(clause.fall_back) == position for clause in wanted)


def _watched(enter: int, leave: int, drafts: list[Draft]) -> list[int]:
    """Steps between the two ends whose failure no step inside said it can do without."""
    below: dict[int, list[Draft]] = {position: [] for position in range(enter + 1, leave)}
    for position in range(enter + 1, leave):
        for parent in {parent for parent in drafts[position].parents if parent in below}:
            below[parent].append(drafts[position])
    return [
        position
        for position, children in below.items()
        if not children or any(child.join.kind not in _LENIENT for child in children)
    ]


def _leave_unless_failed(leaving: Draft, enter: int, watched: list[int], drafts: list[Draft]) -> None:
    """A sub-plan with conditions inside has ended well if nothing failed, though steps may be skipped."""
    states = ", ".join(f"steps[{drafts[position].path!r}].state" for position in watched)
    leaving.join = Join(JoinKind.ALL_DONE)
    leaving.when = f"{_IF_ENTERED} and 'failed' not in [{states}]"
    leaving.names[_ENTERED] = enter
    leaving.names.update((drafts[position].path, position) for position in watched)
    leaving.parents.update(watched)


def _connect_fallback(position: int, draft: Draft, drafts: list[Draft], problems: Problems) -> None:
    clause, where = draft.step.on_failure, (*draft.where, "on_failure", "fall_back")
    if not isinstance(clause, FallBack):
        return
    target = draft.scope.names.get(clause.fall_back)
    if target is None:
        problems.add_unknown("there is no step", clause.fall_back, draft.scope.names, where)
        return
    other = drafts[target]
    reason = None
    if target == position:
        reason = "a step cannot stand in for itself"
    elif draft.step.for_each is not None:
        reason = "a step with for_each cannot fall back: let a later step tolerate a share of failures"
    elif other.step.for_each is not None or other.task == LEAVE_TASK or other.child is not None:
        reason = f"{clause.fall_back!r} cannot stand in: a fall-back is one task, without for_each"
    elif isinstance(other.step.on_failure, FallBack):
        reason = f"{clause.fall_back!r} cannot stand in: it falls back itself"
    elif other.fallback_of is not None:
        reason = f"{clause.fall_back!r} stands in for {drafts[other.fallback_of].path!r} already"
    if reason:
        problems.add(reason, where)
        return
    draft.fallback, other.fallback_of = target, position
    other.parents.add(position)


def _check_join(draft: Draft, problems: Problems) -> None:
    count = len(draft.parents) - (draft.fallback_of is not None)
    if draft.join.kind is JoinKind.AT_LEAST and draft.join.count > count:
        problems.add(f"at_least {draft.join.count} of {count} parents can never hold", (*draft.where, "join"))
    elif draft.join.kind in (JoinKind.ANY, JoinKind.UNTIL) and count == 0:
        word = str(draft.join.kind) if draft.join.kind is JoinKind.UNTIL or not draft.join.prune else "first"
        problems.add(f"{word!r} needs a parent: refer to a step, or name one in after", (*draft.where, "join"))


def _refuse_use_of_fallbacks(drafts: list[Draft], problems: Problems) -> None:
    for draft in drafts:
        for parent in sorted(draft.parents):
            failing = drafts[parent].fallback_of
            if failing is not None:
                name, instead = drafts[parent].path, drafts[failing].path
                problems.add(
                    f"{name!r} runs only in place of {instead!r}: refer to {instead!r}, whose output it then is",
                    draft.where,
                    of_key=True,
                )
