"""Redis: permits, leases, completion streams, pools and rates. The only importer of redis.

Everything here can be lost at any time: SQL is the truth, and what is missing here fails closed.
"""
