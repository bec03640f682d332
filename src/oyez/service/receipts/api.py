"""The HTTP API of a system for the receipts of its events, for back ends that may publish these events."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.runtime.callers import current_caller
from oyez.runtime.http import Authorize, answer_json, service_route
from oyez.service.receipts.answers import ReceiptsQuery
from oyez.service.receipts.reader import ReceiptReader
from oyez.service.resources import read_query


def receipts_route(prefix: str, reader: ReceiptReader, authorize: Authorize) -> Route:
    """`GET {prefix}/events/{position}/receipts`: whom an event has reached, and who has acknowledged it."""

    async def show(request: Request) -> Response:
        query, position = read_query(request, ReceiptsQuery), request.path_params["position"]
        caller = current_caller.get()
        if caller is not None:
            caller.check_events([await reader.find_name(position)])
        return answer_json(await reader.read(position, query))

    return service_route(f"{prefix}/events/{{position}}/receipts", show, authorize, ["GET"])
