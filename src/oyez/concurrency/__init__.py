"""Building blocks for asyncio, processes and files that know nothing of events."""
