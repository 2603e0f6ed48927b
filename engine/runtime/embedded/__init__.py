"""The stack that `flywheel run` and `flywheel up` start: Redis, a scheduler and workers on this machine.

Everything here starts, watches and stops processes. It must import neither celery, redis nor
sqlmodel: the processes it starts do, while this one is already at work.
"""
