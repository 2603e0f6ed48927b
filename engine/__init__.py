"""Flywheel's engine. Authors of tasks and plans import ``engine.authoring``."""
