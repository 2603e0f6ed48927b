"""SQL, the truth: tables, migrations, and the only statements of the project."""
