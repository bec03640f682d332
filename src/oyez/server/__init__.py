"""The Socket.IO server: connections, namespaces, rooms, and the transports that carry them."""
