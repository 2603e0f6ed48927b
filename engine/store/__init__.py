"""SQL: the tables, the migrations and every statement. The only importer of sqlalchemy, sqlmodel and alembic.

Start with ``journal`` (the scheduler's side) and ``runs`` (the API's and the command line's side).
"""
