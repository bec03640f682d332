"""What may be wrong with a running server and what is before it, asked as clients ask: over the network."""

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from oyez.cli.address import DEFAULT_PORTS
from oyez.cli.checks.machine import MAX_SKEW, OTHER_FILES, TIMEOUT, build_ssl, check_skew, explain_token
from oyez.cli.checks.report import Check, ProblemError, UnknownError
from oyez.cli.console import explain_os_error
from oyez.client import ConnectFailed, ConnectRefused, connect

REQUESTS = 5
"""Requests whose time is measured."""
SLOW = 0.5
"""Seconds for an answer that needs neither log nor database: more means that the event loop does something else."""
MAX_LAG = 1.0
"""Seconds by which the event loop of a node may be late."""
VERIFY_EXPIRED, VERIFY_NOT_YET = 10, 9
VERIFY_NAME = (62, 64)
"""Of a host name, and of an IP address."""
VERIFY_SELF_SIGNED = 18
VERIFY_CHAIN = (2, 20, 21)
"""OpenSSL's codes (X509_V_ERR_…) for an issuer that cannot be found."""
GATEWAY = (502, 503, 504)
POLLING = "EIO=4&transport=polling"


@dataclass
class Running:
    """A server at `url`, and what has been learned about it."""

    url: str
    path: str | None = None
    """The path of Socket.IO; None: that of the first system that the server names."""
    token: str | None = None
    make_key: Callable[[str], str | None] = lambda system: None
    """Gives a service key of a system, if there is one."""
    origin: str | None = None
    timeout: float = TIMEOUT
    """Seconds for one answer."""
    systems: list[str] = field(default_factory=list)
    """Set by `examine_ready`."""

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Verifies the server's certificate."""
        return build_ssl()

    @property
    def secure(self) -> bool:
        """True if the address is one of HTTPS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host in the address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port of the address."""
        parts = urlsplit(self.url)
        return parts.port or DEFAULT_PORTS[parts.scheme]

    @property
    def socket_path(self) -> str:
        """The path of Socket.IO."""
        if self.path is not None:
            return f"/{self.path.strip('/')}/"
        return f"/{self.systems[0]}/socket.io/" if self.systems else "/socket.io/"

    def get(self, path: str, **headers: str) -> httpx.Response:
        """The answer to a request. Raises ProblemError if there is none."""
        try:
            # Without the proxies that the environment of this machine names.
            return httpx.get(
                f"{self.url}{path}", headers=headers, timeout=self.timeout, verify=self.tls, trust_env=False
            )
        except httpx.TimeoutException:
            raise ProblemError(
                f"The server takes connections, but does not answer within {self.timeout:g} s: its event loop is"
                " blocked, or a proxy waits for it. Look for code that waits without `await` (`py-spy dump`)."
            ) from None
        except httpx.HTTPError as error:
            raise ProblemError(
                f"The server ends the connection without an answer of HTTP: {error}. Is it {self._other_scheme}?"
            ) from None

    @property
    def _other_scheme(self) -> str:
        parts = urlsplit(self.url)
        return f"{'http' if self.secure else 'https'}://{parts.netloc}"


# The network.


def examine_addresses(case: Running) -> str:
    """Connect to every address of the host's name."""
    try:
        found = socket.getaddrinfo(case.host, case.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ProblemError(
            f"The name {case.host} cannot be resolved: {explain_os_error(error)}. Correct the address, or the DNS."
        ) from None
    addresses = list(dict.fromkeys(address[0] for *_, address in found))
    reasons = {address: _try_address(str(address), case.port, case.timeout) for address in addresses}
    failed = {address: reason for address, reason in reasons.items() if reason is not None}
    if len(failed) == len(addresses):
        shown = ", ".join(f"{address} ({reason})" for address, reason in failed.items())
        raise ProblemError(
            f"Nothing takes connections at {shown}, port {case.port}. Start the server, correct the port, or open the"
            " firewall; a server with HOST=127.0.0.1 is reached from its own machine only."
        )
    if failed:
        listening = ", ".join(str(address) for address in addresses if address not in failed)
        missing = ", ".join(map(str, failed))
        raise ProblemError(
            f"The name {case.host} stands for several addresses, and the server listens at {listening}, but not at"
            f" {missing}. Clients that try the other first fail or wait. Set HOST so that it listens at all (`::` for"
            " IPv4 and IPv6), or use an address instead of the name."
        )
    return f"{', '.join(map(str, addresses))} takes connections at port {case.port}"


def _try_address(address: str, port: int, timeout: float) -> str | None:
    """Why there is no connection; None if there is one."""
    try:
        with socket.create_connection((address, port), timeout):
            return None
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return explain_os_error(error)


def examine_tls(case: Running) -> str:
    """Whether the certificate is one that clients accept."""
    if not case.secure:
        return "not used: the address begins with http"
    try:
        with (
            socket.create_connection((case.host, case.port), case.timeout) as plain,
            case.tls.wrap_socket(plain, server_hostname=case.host) as secure,
        ):
            certificate: Any = secure.getpeercert() or {}
            return f"{secure.version()}; the certificate is valid until {certificate.get('notAfter')}"
    except ssl.SSLCertVerificationError as error:
        raise ProblemError(_explain_certificate(case, error)) from None
    except ssl.SSLError as error:
        raise ProblemError(
            f"The server does not speak TLS at port {case.port} ({error.reason or error}). Use http://, or set"
            " SSL_CERTFILE and SSL_KEYFILE."
        ) from None


def _explain_certificate(case: Running, error: ssl.SSLCertVerificationError) -> str:
    code, words = error.verify_code, error.verify_message.rstrip(".")
    if code == VERIFY_EXPIRED:
        return "The certificate has expired. Renew it, and send SIGHUP to the server."
    if code == VERIFY_NOT_YET:
        return "The certificate is not valid yet. Compare the clocks of both machines."
    if code in VERIFY_NAME:
        return f"The certificate is for another name: {words}. Use the name in the certificate, or get one for both."
    if code == VERIFY_SELF_SIGNED:
        return (
            "The certificate is signed by itself. Get one of an authority, or give yours to clients as SSL_CERT_FILE."
        )
    if code in VERIFY_CHAIN:
        return (
            f"The chain of the certificate is incomplete: {words}. Let SSL_CERTFILE have the certificate and then those"
            " of the intermediate authorities (fullchain.pem); give an authority of your own as SSL_CERT_FILE."
        )
    return f"The certificate is refused: {words}. Correct SSL_CERTFILE, or give your authority as SSL_CERT_FILE."


# HTTP.


def examine_http(case: Running) -> str:
    """Whether Oyez answers."""
    answer = case.get("/healthz")
    if answer.status_code in GATEWAY:
        raise ProblemError(
            f"A proxy answers {answer.status_code}: it cannot reach the server. Start the server, or correct the"
            " address in the proxy's settings (nginx: `proxy_pass`)."
        )
    if answer.status_code == httpx.codes.OK and _decode(answer) == {"alive": True}:
        return "Oyez answers"
    if case.path is not None:
        return f"a server answers {answer.status_code} to /healthz, as if Oyez was mounted in it"
    raise ProblemError(
        f"Another program answers at {case.url}: {answer.status_code} to /healthz. Correct the address; if Oyez is"
        " mounted in another application, give --path."
    )


def examine_loop(case: Running) -> str:
    """How fast the server answers what needs no log and no database."""
    times = []
    for _ in range(REQUESTS):
        began = time.monotonic()
        case.get("/healthz")
        times.append(time.monotonic() - began)
    if max(times) > SLOW:
        raise ProblemError(
            f"An answer took {max(times):.1f} s: the event loop is blocked for so long, or the machine is overloaded."
            " Look for code that waits without `await`, and at the metric `oyez_event_loop_lag_seconds`."
        )
    return f"{REQUESTS} answers within {max(times) * 1000:.0f} ms"


READY_REMEDIES = {
    "log": "the log cannot be used: start Redis, or make room on the disk of OYEZ_DATA",
    "database": "the database cannot be used: start it, or run the missing migrations (`oyez check` names them)",
}


def examine_ready(case: Running) -> str:
    """Whether the server can do its work."""
    answer = _decode(case.get("/readyz"))
    if not isinstance(answer, dict) or "systems" not in answer:
        raise UnknownError("There is no /readyz, as if Oyez was mounted in another application.")
    case.systems = [*answer["systems"]]
    faults = [
        f"{name}: {READY_REMEDIES[part]}."
        for name, parts in answer["systems"].items()
        for part, word in parts.items()
        if word != "ok"
    ]
    if answer["keys"] != "ok":
        faults.append("The keys of users' tokens cannot be fetched: make JWKS_URL reachable from the server.")
    workers = answer.get("workers")
    if workers is not None and workers["answering"] < workers["configured"]:
        faults.append(
            f"Only {workers['answering']} of {workers['configured']} workers answer: the log says why the others died."
        )
    if faults:
        raise ProblemError("\n".join(f"{fault} The server's log has the reason." for fault in faults))
    if not answer["ready"]:
        raise ProblemError("The server is stopping. Start it again, or wait until it has restarted.")
    return f"log, database and keys of {', '.join(case.systems)}"


def examine_clock(case: Running) -> str:
    """Whether the server's clock agrees with that of this machine."""
    date = case.get("/healthz").headers.get("date")
    if date is None:
        raise UnknownError("The server's answers have no date.")
    # The header has whole seconds.
    ahead = parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
    check_skew("the server", ahead)
    return f"differs by less than {MAX_SKEW:g} s"


# Socket.IO.


def examine_path(case: Running) -> str:
    """Whether Socket.IO is where clients look for it."""
    path = case.socket_path
    answer = case.get(f"{path}?{POLLING}")
    if answer.status_code == httpx.codes.OK and answer.text.startswith('0{"sid"'):
        return f"Socket.IO answers at {path}"
    problem = _decode(answer)
    detail = problem.get("detail", "") if isinstance(problem, dict) else ""
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise ProblemError(
            f"There is no Socket.IO at {path}. {detail} Let clients set `path` to /SYSTEM/socket.io/, and let a proxy"
            " pass paths on unchanged."
        )
    raise ProblemError(
        f"{path} is answered with status {answer.status_code}, and not by Socket.IO. Correct --path, or the paths that"
        " the proxy passes on."
    )


def examine_origin(case: Running) -> str:
    """Whether pages of an origin may connect."""
    if case.origin is None:
        raise UnknownError("No origin is given. Give one with --origin https://shop.example.")
    answer = case.get(f"{case.socket_path}?{POLLING}", origin=case.origin)
    if answer.status_code == httpx.codes.FORBIDDEN:
        raise ProblemError(
            f"Pages of {case.origin} are refused. Add it to CLIENT_ORIGIN; behind a proxy, pass the header Host on."
        )
    allowed = answer.headers.get("access-control-allow-origin")
    same = case.origin == case.url
    if allowed not in (case.origin, "*") and not same:
        raise ProblemError(
            f"The answer for pages of {case.origin} has no Access-Control-Allow-Origin, so browsers refuse it. Add the"
            " origin to CLIENT_ORIGIN, and let the proxy pass the header on."
        )
    return f"pages of {case.origin} may connect"


def examine_websocket(case: Running) -> str:
    """Whether a WebSocket is opened, and whether what the server sends arrives at once."""
    began = time.monotonic()
    try:
        asyncio.run(_connect(case, None))
    except ConnectRefused:
        pass
    except ConnectFailed as failed:
        if failed.status is not None:
            raise ProblemError(
                f"A WebSocket is refused with status {failed.status}, although polling works: a proxy does not pass on"
                " the headers Upgrade and Connection. nginx: `proxy_http_version 1.1; proxy_set_header Upgrade"
                " $http_upgrade; proxy_set_header Connection upgrade;` (docs/operating.md, behind nginx)."
            ) from None
        if time.monotonic() - began >= case.timeout:
            raise ProblemError(
                f"A WebSocket is opened, but nothing of what the server sends arrives within {case.timeout:g} s: a"
                " proxy or a firewall holds it back (buffers). Turn buffering off there (nginx: `proxy_buffering off`)."
            ) from None
        raise ProblemError(f"A WebSocket breaks: {failed} Look at the proxy's log.") from None
    return f"opens, and answers within {(time.monotonic() - began) * 1000:.0f} ms"


def examine_user(case: Running) -> str:
    """Whether the server accepts a user's token."""
    if case.token is None:
        raise UnknownError("No token is given. Give one with --token to learn whether it is accepted.")
    try:
        asyncio.run(_connect(case, case.token))
    except ConnectRefused as refused:
        code = refused.data.get("code", "") if isinstance(refused.data, dict) else ""
        raise ProblemError(explain_token(str(code), refused.message)) from None
    except ConnectFailed as failed:
        raise ProblemError(f"The server closes the connection: {failed} The server's log has the reason.") from None
    return "the server accepts the token"


async def _connect(case: Running, token: str | None) -> None:
    auth = {"token": token} if token is not None else None
    tls = case.tls if case.secure else None
    async with connect(
        case.url, path=case.socket_path, auth=auth, transports=["websocket"], ssl=tls, timeout=case.timeout
    ):
        pass


# The nodes.


def examine_nodes(case: Running) -> str:
    """Whether the nodes of each system fit together."""
    described, faults, refused = [], [], []
    for system in case.systems:
        key = case.make_key(system)
        if key is None:
            raise UnknownError(
                "No service key is given. Give one with --key (`oyez token SYSTEM --service` prints it) to compare the"
                " nodes."
            )
        answer = case.get(f"/{system}/nodes", authorization=f"Bearer {key}")
        if answer.status_code != httpx.codes.OK:
            detail = _decode(answer)
            reason = detail.get("detail", "") if isinstance(detail, dict) else ""
            refused.append(f"The nodes of {system} are not listed: status {answer.status_code}. {reason}")
            continue
        nodes = answer.json()["nodes"]
        faults += [f"{system}: {fault}" for fault in find_node_faults(nodes)]
        described.append(f"{len(nodes)} of {system}")
    if faults or not described:
        # A key is for one of several systems.
        raise ProblemError("\n".join(faults or refused))
    return f"{', '.join(described)} fit together"


def find_node_faults(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """What does not fit, one sentence each."""
    faults = []
    versions = Counter(node["version"] for node in nodes if node["version"])
    if len(versions) > 1:
        faults.append(
            f"nodes run different versions of Oyez ({_count(versions)}). Finish the deploy: replace the older ones."
        )
    contracts = Counter(node["contract"] for node in nodes if node["contract"])
    if len(contracts) > 1:
        faults.append(
            f"nodes serve different contracts ({_count(contracts)}), so clients are treated differently. Deploy the"
            " same code everywhere."
        )
    for node in nodes:
        if abs(node["clockAhead"]) > MAX_SKEW:
            faults.append(
                f"the clock of node {node['id']} differs by {node['clockAhead']:+.0f} s from the node that answers."
                " Synchronise the clocks (NTP)."
            )
        if node["lag"] > MAX_LAG:
            faults.append(
                f"the event loop of node {node['id']} was blocked for {node['lag']:.1f} s in the last minute. Look for"
                " code that waits without `await`."
            )
        if 0 <= node["maxFiles"] < node["connections"] + OTHER_FILES:
            faults.append(
                f"node {node['id']} may open {node['maxFiles']} files and has {node['connections']} clients. Raise the"
                " limit (`LimitNOFILE` of systemd, `--ulimit nofile` of Docker)."
            )
    return faults


def _count(found: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(found.items()))


def _decode(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


RUNNING: tuple[Check[Running], ...] = (
    Check("connection", examine_addresses),
    Check("TLS", examine_tls, ("connection",)),
    Check("HTTP", examine_http, ("TLS",)),
    Check("event loop", examine_loop, ("HTTP",)),
    Check("readiness", examine_ready, ("HTTP",)),
    Check("clock", examine_clock, ("HTTP",)),
    Check("path", examine_path, ("HTTP",)),
    Check("origin", examine_origin, ("path",)),
    Check("WebSocket", examine_websocket, ("path",)),
    Check("token", examine_user, ("WebSocket",)),
    Check("nodes", examine_nodes, ("readiness",)),
)
"""What `oyez doctor` asks a running server."""
