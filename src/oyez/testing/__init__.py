"""What systems are tested with: simulated users of a running server."""
