"""The quotes system's HTTP API: supplier records, written by the back end that knows the suppliers."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload, Id
from oyez.contract.http import answer_json, read_json, service_route
from oyez.service.http import read_ids
from oyez.service.system import Context
from oyez.systems.quotes.tables import put_supplier, remove_supplier


class SupplierRecord(CamelPayload):
    """Which supplier a user is."""

    user_id: Id
    supplier_id: Id


class SupplierBody(CamelPayload):
    """The body; the user is named by the path."""

    supplier_id: Id


def build_routes(context: Context) -> list[Route]:
    """`PUT /suppliers/{userId}` with `{supplierId}`: 201 where the record is new or changed, 200 where it was so.

    `DELETE /suppliers/{userId}`: 200 with the record that was, 404 (no_supplier) where there was none.
    """

    async def put(request: Request) -> Response:
        [user_id] = read_ids(request)
        body = await read_json(request, SupplierBody, context.settings.limits)
        new = await context.database.run(put_supplier, user_id, body.supplier_id)
        return answer_json(SupplierRecord(user_id=user_id, supplier_id=body.supplier_id), 201 if new else 200)

    async def delete(request: Request) -> Response:
        [user_id] = read_ids(request)
        supplier_id = await context.database.run(remove_supplier, user_id)
        return answer_json(SupplierRecord(user_id=user_id, supplier_id=supplier_id))

    async def answer(request: Request) -> Response:
        return await (put if request.method == "PUT" else delete)(request)

    # One route for both: of two, the first would answer 405 for the other's method, and name only its own.
    return [service_route("/suppliers/{userId:path}", answer, context.authorize, ["PUT", "DELETE"])]
