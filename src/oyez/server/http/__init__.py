"""The port: HTTP requests, WebSocket upgrades, and the endpoints that they reach."""
