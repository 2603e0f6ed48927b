"""Any interleaving of reserving, settling, expiring, losing and recounting, against a model of what must hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from engine.hotstate.budgets import Amounts, Bucket, Limit, Record, RedisBudgets, Scope
from engine.hotstate.scheduler import RedisHotState
from tests.services.redis import RedisServer

SCOPES = (
    Scope("run/a", Limit(100, 1000, None, None)),
    Scope("run/b", Limit(60, None, 6, None)),
    Scope("all", Limit(130)),
)
BUCKET = Bucket("burst", 120, 0)
ATTEMPTS = 3


@dataclass(frozen=True)
class Known:
    """What the model knows of a reservation. ``where`` is ``redis``, ``ledger`` or ``both``."""

    record: Record
    state: str
    spent: Amounts
    ledgered: bool = False


class Conserved(RuleBasedStateMachine):
    server: RedisServer
    hot: RedisHotState
    redis: RedisBudgets

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.known: dict[str, Known] = {}
        self.count = 0
        self.gen = ""
        self.reopen()

    def reopen(self) -> None:
        self.hot.epoch()
        self.gen = self.redis.current()
        self.redis.begin(self.gen)
        for token in {f"t{number}" for number in range(ATTEMPTS)}:
            held = [(k.record, 0 if k.state in ("x", "due") else 10**7) for k in self.mine(token) if not k.ledgered]
            # As a process tells it: it does not know what has expired, only when it does.
            told = [(replace(r, state="s" if self.known[r.id].state == "s" else "o",
                             amounts=self.known[r.id].spent if self.known[r.id].state == "s" else r.amounts), live)
                    for r, live in held]  # fmt: skip
            assert self.redis.announce(self.gen, token, token, told) == "ok"
        sums = {scope: self.ledger(scope) for scope in SCOPES}
        level = BUCKET.capacity_nusd - sum(k.spent.nusd for k in self.known.values() if k.ledgered and k.record.buckets)
        self.redis.write_sums(self.gen, sums, {BUCKET: level})
        assert self.redis.open(self.gen, [i for i, k in self.known.items() if k.ledgered], {})

    def mine(self, token: str) -> list[Known]:
        return [known for known in self.known.values() if known.record.node == token]

    def ledger(self, scope: Scope) -> Amounts:
        return self.total(scope, [k for k in self.known.values() if k.ledgered])

    def total(self, scope: Scope, known: list[Known]) -> Amounts:
        total = Amounts()
        for each in known:
            if scope.name in each.record.scopes:
                total = total.plus(each.spent if each.state == "s" else each.record.amounts)
        return total

    @rule(
        token=st.integers(0, ATTEMPTS - 1), which=st.sets(st.integers(0, 2), min_size=1), nusd=st.integers(0, 50),
        tokens=st.integers(0, 400), expires=st.booleans(), burst=st.booleans(),
    )  # fmt: skip
    def reserve(self, token: int, which: set[int], nusd: int, tokens: int, expires: bool, burst: bool) -> None:
        scopes, buckets = [SCOPES[number] for number in sorted(which)], [BUCKET] if burst else []
        self.count += 1
        names = tuple(f"{b.name}={b.capacity_nusd}" for b in buckets)
        record = Record(f"id{self.count}", "o", 0, Amounts(nusd, tokens, 1, 0), tuple(s.name for s in scopes), names,
                        0, f"t{token}", "{}")  # fmt: skip
        self.expire()
        answer = self.redis.reserve(f"t{token}", record, 0 if expires else 10**7, scopes, buckets)
        verdict = self.expected(record.amounts, scopes, burst)
        assert answer.verdict == verdict, (answer, verdict)
        if verdict == "ok":
            self.known[record.id] = Known(record, "due" if expires else "o", record.amounts)
            again = self.redis.reserve(f"t{token}", record, 10**7, scopes, buckets)
            assert again.verdict == "ok"

    def expire(self) -> None:
        for name, known in self.known.items():
            if known.state == "due":
                self.known[name] = replace(known, state="x")

    def expected(self, wanted: Amounts, scopes: list[Scope], burst: bool) -> str:
        waits = False
        for scope in scopes:
            inside = [k for k in self.known.values() if scope.name in k.record.scopes]
            settled = self.total(scope, [k for k in inside if k.state in "sx"])
            reserved = self.total(scope, [k for k in inside if k.state in ("o", "due")])
            for limit, want, s, r in zip(scope.limit, wanted, settled, reserved, strict=True):
                if limit is not None and want and s + want > limit:
                    return "exhausted"
                waits = waits or (limit is not None and want > 0 and s + r + want > limit)
        if burst and self.level() < wanted.nusd:
            waits = True
        return "wait" if waits else "ok"

    def level(self) -> int:
        drawn = [k for k in self.known.values() if k.record.buckets]
        return BUCKET.capacity_nusd - sum(k.spent.nusd if k.state == "s" else k.record.amounts.nusd for k in drawn)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[name]
        ceiling = known.record.amounts
        spent = Amounts(int(ceiling.nusd * share), int(ceiling.tokens * share), 1, 0)
        answer = self.redis.settle(self.gen, known.record.node, name, spent, "{}")
        if known.ledgered:
            assert answer == "gone"
        elif known.state != "s":
            self.known[name] = replace(known, state="s", spent=spent)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[name]
        self.redis.settle(self.gen, known.record.node, name, Amounts(), "")
        if known.state != "s" and not known.ledgered:
            del self.known[name]

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.known)))
        known = self.known[name]
        assert self.redis.renew(self.gen, known.record.node, [name], 10**7) == "ok"
        if known.state != "s" and not known.ledgered:
            self.known[name] = replace(known, state="o")

    @rule(token=st.integers(0, ATTEMPTS - 1))
    def lose_a_delivery(self, token: int) -> None:
        held = self.redis.held(f"t{token}")
        assert {record.id for record in held} == {k.record.id for k in self.mine(f"t{token}") if not k.ledgered}
        self.redis.ledgered(0, f"t{token}", [record.id for record in held])
        self.into_the_ledger(f"t{token}")

    @rule(token=st.integers(0, ATTEMPTS - 1))
    def report_a_delivery(self, token: int) -> None:
        if all(k.state == "s" for k in self.mine(f"t{token}") if not k.ledgered):
            assert self.redis.reported(f"t{token}")
            self.into_the_ledger(f"t{token}")
        else:
            assert not self.redis.reported(f"t{token}")

    def into_the_ledger(self, token: str) -> None:
        for known in self.mine(token):
            self.known[known.record.id] = replace(known, state="s", ledgered=True)

    @rule()
    def lose_redis(self) -> None:
        self.server.flush()
        self.reopen()

    @invariant()
    def sums_are_those_of_what_is_known(self) -> None:
        used = self.redis.used([scope.name for scope in SCOPES])
        assert used is not None
        for scope in SCOPES:
            settled, reserved = used[scope.name]
            assert settled.plus(reserved) == self.total(scope, list(self.known.values())), scope.name
            assert min(*settled, *reserved) >= 0

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        used = self.redis.used([scope.name for scope in SCOPES])
        assert used is not None
        for scope in SCOPES:
            for limit, one, other in zip(scope.limit, *used[scope.name], strict=True):
                assert limit is None or one + other <= limit


def test_reservations_are_conserved_under_any_interleaving(redis_server: RedisServer) -> None:
    hot, redis = RedisHotState(redis_server.url, "m"), RedisBudgets(redis_server.url, "m")
    machine = type("Here", (Conserved,), {"server": redis_server, "hot": hot, "redis": redis})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, database=None, phases=(Phase.generate,),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip
    hot.close()
    redis.close()
