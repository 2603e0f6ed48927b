"""What Flower reads at its start. Values that differ by installation come on its command line."""

from __future__ import annotations

max_tasks = 20000  # about 100 MB; the history is in `flywheel runs`
purge_offline_workers = 300
persistent = False  # its file is a pickle, written whole at each stop
tasks_columns = "name,state,args,kwargs,received,started,runtime,worker,uuid"
task_runtime_metric_buckets = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0, float("inf")]
natural_time = False
