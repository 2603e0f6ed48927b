"""The processes: scheduler loop, worker pipeline, embedded stack."""
