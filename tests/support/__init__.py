"""What tests share: servers, clients, databases, a market and a clock. No test stands here.

| module | what it gives |
| --- | --- |
| `serving` | a server in the test's own event loop, with `application` behind it and `server_steps` to take with it |
| `served` | `oyez serve` as a process; `terminal`: any command as a person runs it |
| `market` | a contract that uses everything a contract can say; `shops`: small systems around an `Oyez` |
| `helpdesk` | a system with commands and members, served by processes |
| `wire` | HTTP, Engine.IO and WebSocket frames by hand |
| `js_client`, `py_client` | the official clients |
| `valkey`, `postgres`, `pooled_proxy`, `round_robin` | servers and proxies that tests start |
| `clock`, `parts`, `logged` | a clock that a test moves; parts of a server; what was logged |
"""
