"""What tests share: servers, clients, databases, a market and a clock. No test stands here.

| module | what it gives |
| --- | --- |
| `serving` | a server in the test's own event loop; `application`: what it serves; `server_steps`: verbs for tests |
| `served` | `oyez serve` as a process; `terminal`: any command as a person runs it |
| `market` | a contract that uses every feature of contracts; `shops`: small systems around an `Oyez` |
| `helpdesk`, `boards` | systems with commands and members, with several targets, served by processes |
| `pairs` | two processes that serve the same system, and official clients for them |
| `wire` | HTTP, Engine.IO and WebSocket frames by hand |
| `js_client`, `py_client` | the official clients |
| `valkey`, `postgres`, `pooled_proxy`, `round_robin` | servers and proxies that tests start |
| `clock`, `parts`, `logged` | a clock that a test moves; parts of a server; what was logged |
"""
