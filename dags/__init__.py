"""The plans that ship, each useful as it is."""
