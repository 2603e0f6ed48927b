"""Redis: permits, leases, completion streams, pools and rates. The only importer of redis."""
