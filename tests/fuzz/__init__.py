"""Malformed plans, conditions and templates by chance: whatever comes, only our own errors come out, soon."""
