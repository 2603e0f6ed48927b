"""Licences: what is declared, what a text is, what follows from both. Pure: opens no file."""
