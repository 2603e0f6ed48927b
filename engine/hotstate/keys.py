"""The names of our keys in Redis. The broker's own keys, under the same prefix, hold no colon after it."""

from __future__ import annotations

from collections.abc import Iterator

# kombu's own separator and steps: a queue of priority 0 has the bare name.
_PRIORITY_SEPARATOR = "\x06\x16"
PRIORITY_STEPS = (0, 3, 6, 9)


def permit_field(step_no: int, item: int) -> str:
    """The field of a node in its run's hash of permits."""
    return f"{step_no}:{item}"


class Keys:
    """The keys of one installation.

    Parameters
    ----------
    namespace
        Prefix that keeps installations apart on a shared server.
    """

    def __init__(self, namespace: str) -> None:
        self.prefix = f"{namespace}:"
        self.epoch = f"{self.prefix}epoch:marker"
        self.workers = f"{self.prefix}worker:index"
        self.stop_prefix = f"{self.prefix}stop:"
        self.stops = f"{self.prefix}stops"
        self.pools = f"{self.prefix}pools"

    def permits(self, run_id: str) -> str:
        """Hash: a run's permits by node."""
        return f"{self.prefix}permit:{run_id}"

    def permitted(self, shard: int) -> str:
        """Set: the shard's runs that may have permits."""
        return f"{self.prefix}permits:{shard}"

    def fence(self, shard: int) -> str:
        """The fencing epoch of the scheduler whose permits are taken."""
        return f"{self.prefix}fence:{shard}"

    def leases(self, shard: int) -> str:
        """Sorted set: claimed deliveries by the millisecond in which their lease runs out."""
        return f"{self.prefix}leases:{shard}"

    def reports(self, shard: int) -> str:
        """Stream of reports to the shard's scheduler."""
        return f"{self.prefix}reports:{shard}"

    def outline(self, shard: int) -> str:
        """What the shard's scheduler has learned, in brief."""
        return f"{self.prefix}outline:{shard}"

    def stop(self, token: str) -> str:
        """Flag that tells a delivery's bodies to stop."""
        return f"{self.stop_prefix}{token}"

    def ended(self, run_id: str) -> str:
        """Channel on which the end of a run is told."""
        return f"{self.prefix}ended:{run_id}"

    def grant(self, token: str) -> str:
        """List with the answer to a body that asked to begin."""
        return f"{self.prefix}grant:{token}"

    def ahead(self, token: str) -> str:
        """List with what a delivery that read ahead brought."""
        return f"{self.prefix}ahead:{token}"

    def worker(self, name: str) -> str:
        """What a worker said of itself."""
        return f"{self.prefix}worker:{name}"

    def drain(self, name: str) -> str:
        """Flag that tells a worker to finish what it has and leave."""
        return f"{self.prefix}drain:{name}"

    def pool(self, name: str) -> str:
        """Hash: slots in use of a pool by shard."""
        return f"{self.prefix}pool:{name}"

    def bucket(self, name: str) -> str:
        """Hash: a token bucket."""
        return f"{self.prefix}bucket:{name}"

    def cache(self) -> list[str]:
        """What the scripts of the cache are given: facts, entries, use, tags, and a prefix for the rest."""
        own = f"{self.prefix}cache:"
        return [f"{own}facts", f"{own}entries", f"{own}used", f"{own}tags", own]

    def told(self, token: str) -> str:
        """List by which who waits for a cache entry is told that its maker is done."""
        return f"{self.prefix}cache:told:{token}"

    def open_calls(self, provider: str) -> str:
        """Sorted set: calls open at a provider of models by the millisecond they are given up."""
        return f"{self.prefix}calls:{provider}"

    def call_tokens(self, provider: str) -> str:
        """Hash: what is left of a provider's tokens a minute."""
        return f"{self.prefix}calltokens:{provider}"

    def handed(self, key: str) -> str:
        """What is known of a question that was handed to a provider's batch."""
        return f"{self.prefix}handed:{key}"

    def queue(self, name: str) -> Iterator[str]:
        """The lists in which kombu keeps a queue's messages, one a priority step."""
        for step in PRIORITY_STEPS:
            yield f"{self.prefix}{name}{_PRIORITY_SEPARATOR}{step}" if step else f"{self.prefix}{name}"
