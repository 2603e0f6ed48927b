"""The benches of ``scripts/bench``: the same work on this engine and on its peers, side by side."""
