"""Tools that test a system: simulated users of a running server."""
