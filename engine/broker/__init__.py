"""Celery over Redis: the app, publishing, and the hooks a worker needs. The only importer of celery."""
