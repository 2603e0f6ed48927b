"""Whether the workers run the code that is here: one started before an edit goes on with what it loaded."""

from __future__ import annotations

from engine.api.plans import admit_current_folder
from engine.errors import Unavailable
from engine.plan.registry import load_task_modules
from settings import Settings

RESTART = "start them anew: `flywheel down` and `flywheel up`, or `flywheel workers drain NAME` and a new one"
"""What to do about them."""


def workers_with_other_code(settings: Settings, url: str | None) -> tuple[str, ...]:
    """Names of live workers that announced other code than the task modules have here; none if Redis is away.

    Ask before a plan is loaded that is a Python file: its tasks count as well from then on.

    Parameters
    ----------
    url
        The installation's Redis; ``None`` where none runs.

    Raises
    ------
    UsageError
        A task module cannot be imported.
    """
    if url is None:
        return ()
    from engine.hotstate.scheduler import RedisHotState  # lazy: redis

    admit_current_folder()
    here = load_task_modules(settings.task_modules).code_digest()
    hot = RedisHotState(url, settings.namespace)
    try:
        return tuple(worker.name for worker in hot.workers() if worker.code not in ("", here))
    except Unavailable:
        return ()
    finally:
        hot.close()
