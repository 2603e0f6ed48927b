"""Alembic's revisions; run by ``engine.store.schema``, never by alembic's own command line."""
