"""Celery: the application, its queues and pipelined publishing. The only importer of celery and kombu."""
