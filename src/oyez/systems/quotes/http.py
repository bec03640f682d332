"""The quotes system's HTTP API: supplier records, written by the back end that knows the suppliers."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload, Id
from oyez.runtime import read_json, service_route
from oyez.service.http import answer_write, read_ids
from oyez.service.outbox.outbox import Transaction
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
        return await answer_write(context.outbox, _put, user_id, body.supplier_id)

    async def delete(request: Request) -> Response:
        return await answer_write(context.outbox, _remove, *read_ids(request))

    async def answer(request: Request) -> Response:
        return await (put if request.method == "PUT" else delete)(request)

    # One route for both: of two, the first would answer 405 for the other's method, and name only its own.
    return [service_route("/suppliers/{userId:path}", answer, context.authorize, ["PUT", "DELETE"])]


def _put(tx: Transaction, user_id: str, supplier_id: str) -> tuple[SupplierRecord, int]:
    new = put_supplier(tx.connection, user_id, supplier_id)
    return SupplierRecord(user_id=user_id, supplier_id=supplier_id), 201 if new else 200


def _remove(tx: Transaction, user_id: str) -> tuple[SupplierRecord, int]:
    return SupplierRecord(user_id=user_id, supplier_id=remove_supplier(tx.connection, user_id)), 200
