"""The pure core: state, events, decisions. No clock, network, database, random source or asyncio."""
