"""The worker: takes deliveries from the broker, runs bodies, reports. Needs Redis and artefacts, never SQL."""

from engine.runtime.worker.process import main

__all__ = ["main"]
