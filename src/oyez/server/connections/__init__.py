"""One client: its connection, its sockets, and the limits on the number of clients."""
