"""`GET /{system}/nodes`: the nodes that serve a system, so that `oyez doctor` finds those that do not fit together."""

import hashlib
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract
from oyez.documents.description import describe
from oyez.runtime.http import Authorize, answer_json, service_route
from oyez.server.cluster.facts import Facts, Release
from oyez.server.cluster.membership import Membership, NodeReport
from oyez.service.server_api.operations import ServerNode, ServerNodes

DIGEST_BYTES = 6
"""Bytes of a contract's digest: two contracts of one system are never likely to share one."""
_UNKNOWN = Facts(Release(), 0.0, 0, -1, 0.0)


@cache
def digest_contract(contract: Contract) -> str:
    """What is the same for two nodes only if their contracts say the same."""
    return hashlib.blake2s(encode_json(describe(contract)), digest_size=DIGEST_BYTES).hexdigest()


def nodes_route(prefix: str, membership: Membership, authorize: Authorize) -> Route:
    """The route, for holders of a service key."""

    async def show(request: Request) -> Response:
        return answer_json(ServerNodes(nodes=[_describe(node) for node in membership.report()]))

    return service_route(f"{prefix}/nodes", show, authorize, ["GET"])


def _describe(node: NodeReport) -> ServerNode:
    facts = node.facts or _UNKNOWN
    release = facts.release
    return ServerNode(
        id=node.id,
        address=node.address,
        version=release.version,
        contract=release.contract,
        clock_ahead=round(node.ahead, 3),
        connections=facts.connections,
        max_files=facts.max_files,
        lag=round(facts.lag, 3),
    )
