"""The HTTP API of `quotes`: supplier records, written by the back end."""

from oyez.contract import CamelPayload, Id
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import Write
from oyez.systems.quotes.tables import put_supplier, remove_supplier


class SupplierRecord(CamelPayload):
    """The supplier that a user is."""

    user_id: Id
    supplier_id: Id


class SupplierBody(CamelPayload):
    """The body; the path names the user."""

    supplier_id: Id


def _put(tx: Transaction, user_id: str, body: SupplierBody) -> tuple[SupplierRecord, bool]:
    """Store which supplier a user is. True if the user was none."""
    new = put_supplier(tx.connection, user_id, body.supplier_id)
    return SupplierRecord(user_id=user_id, supplier_id=body.supplier_id), new


def _remove(tx: Transaction, user_id: str) -> SupplierRecord:
    """Remove the supplier of a user, and answer with it."""
    return SupplierRecord(user_id=user_id, supplier_id=remove_supplier(tx.connection, user_id))


RESOURCES = (
    Write("PUT", "/suppliers/{userId:path}", _put, SupplierBody),
    # Answers with the record that was removed, or 404 (no_supplier).
    Write("DELETE", "/suppliers/{userId:path}", _remove),
)
