"""Throughput, takeover, cold starts and limits on real processes."""
