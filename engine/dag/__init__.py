"""From a plan to a networkx DAG over steps, and what can be asked of it."""
