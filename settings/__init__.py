"""The one settings tree."""
