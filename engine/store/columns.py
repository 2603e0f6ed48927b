"""The tables as readers and submitters name them: columns and types, without the classes behind them.

Building SQLModel's classes costs a process a tenth of a second, which a command that lists runs would
spend on what it never uses. ``tables`` is the truth; a test holds these equal to it. No keys, no
indexes, no migrations: those need the classes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, Integer, TableClause, Text, column, table
from sqlalchemy.types import TypeEngine

from engine.scheduling.records import RunState

_FINAL = ", ".join(f"'{state.value}'" for state in RunState if state.final)
NOT_FINAL = f"state NOT IN ({_FINAL})"
"""Condition, in SQL, of runs that have no final state; the partial index repeats it word for word."""

IS_TOP = "parent_run IS NULL"
"""Condition, in SQL, of runs that stand for no node of another run."""

_TYPES: dict[str, type[TypeEngine[Any]]] = {
    "": Text,
    "int": Integer,
    "big": BigInteger,
    "bool": Boolean,
    "real": Double,
}


def _table(name: str, written: str) -> TableClause:
    """A table of the columns ``written``: names, each with ``:type`` unless it is text."""
    pairs = (word.partition(":") for word in written.split())
    return table(name, *(column(name, _TYPES[kind]()) for name, _, kind in pairs))


PLAN_VERSION = _table("plan_version", "version name source created_at:real")
RUN = _table(
    "run",
    "id tenant session plan_name plan_version shard:int priority:int inputs state reason partial:bool outputs "
    "idempotency_key created_at:real started_at:real finished_at:real deadline_at:real permits_gone_at:real "
    "parent_run parent_step_no:int parent_item:int parent_attempt:int round:int depth:int code_hashes budget",
)
RUN_TAG = _table("run_tag", "tag run_id")
STEP = _table(
    "step",
    "run_id step_no:int path task queue phase skill effects fanned:bool parents join_kind attempts_max:int state "
    "reason tolerated:bool count:int succeeded:int failed:int skipped:int expanded_at:real finished_at:real "
    "code_hash",
)
NODE = _table("node", "run_id step_no:int item:int state attempt:int reason finished_at:real result")
ATTEMPT = _table(
    "attempt",
    "run_id step_no:int item:int attempt:int kind queue dispatched_at:real begun_at:real ended_at:real "
    "recorded_at:real outcome worker retry_at:real repeated:bool progress:real error ceiling_nusd:big",
)
DUPLICATE = _table(
    "duplicate",
    "run_id number:big step_no:int item:int attempt:int outcome worker at:real begun_at:real ended_at:real",
)
DECISION = _table("decision", "run_id number:big kind reason at:real step_no:int item:int figures")
LOG_LINE = _table("log_line", "run_id number:big step_no:int item:int attempt:int text")
COMMAND = _table("command", "id:int run_id shard:int kind arguments created_at:real handled_at:real error")
SHARD = _table("shard", "shard:int owner epoch:big lease_until:real")
LEARNED = _table("learned", "shard:int plan path task seen_at:real facts")
LEARNED_GENERATION = _table("learned_generation", "id:int generation:big")
CACHE_ENTRY = _table(
    "cache_entry", "id digest tenant kind name tags incarnation stamp:big made_at:real expires_at:real body"
)
CACHE_WRITE = _table("cache_write", "id tenant tags incarnation stamp:big at:real")
PAUSED_QUEUE = _table("paused_queue", "queue paused_at:real")
LEDGER = _table(
    "ledger",
    "run_id id step_no:int item:int attempt:int at:real kind name provider purpose input:big cache_read:big "
    "cache_write_5m:big cache_write_1h:big output:big reasoning:big cost_nusd:big saved_nusd:big queue_s:real "
    "call_s:real first_token_s:real cache settled:bool outcome context_tokens:big cited_tokens:big score:real facts",
)
LEDGER_SUM = _table("ledger_sum", "quarter_at:big tenant session calls:big tokens:big cost_nusd:big saved_nusd:big")
OUTCOME = _table(
    "outcome", "run_id id step_no:int item:int attempt:int at:real model task step_class passed:bool score:real by text"
)
RATING = _table("rating", "run_id number:int step_no:int item:int at:real score:real note")
