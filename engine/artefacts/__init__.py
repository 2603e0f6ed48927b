"""Content-addressed bytes outside the database, and the values that refer to them."""
