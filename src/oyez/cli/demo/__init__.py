"""A day at the market: every system that ships, played by simulated people over the public ways only."""
