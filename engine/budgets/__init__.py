"""Limits on spend: reserved before a call, settled after it."""
