"""Supplier records: which supplier a user is. Tokens do not contain it."""

from sqlalchemy import Column, Connection, MetaData, String, Table, select

from oyez.errors import Refusal, RefusedError

metadata = MetaData()

suppliers = Table(
    "quotes_suppliers",
    metadata,
    Column("user_id", String(128), primary_key=True),
    Column("supplier_id", String(128), nullable=False, unique=True),
)

NO_SUPPLIER = Refusal("no_supplier", "That user has no supplier record.", status=404)
SUPPLIER_TAKEN = Refusal("supplier_taken", "That supplier already belongs to another user.", status=409)


def find_supplier(connection: Connection, user_id: str) -> str | None:
    """The supplier id of a user, or None if the user has no supplier record."""
    found: str | None = connection.execute(
        select(suppliers.c.supplier_id).where(suppliers.c.user_id == user_id)
    ).scalar_one_or_none()
    return found


def remove_supplier(connection: Connection, user_id: str) -> str:
    """Remove the supplier record of a user and return the supplier id. Raises RefusedError (no_supplier)."""
    supplier_id = find_supplier(connection, user_id)
    if supplier_id is None:
        raise RefusedError(NO_SUPPLIER, f"User {user_id!r} has no supplier record.")
    connection.execute(suppliers.delete().where(suppliers.c.user_id == user_id))
    return supplier_id


def put_supplier(connection: Connection, user_id: str, supplier_id: str) -> bool:
    """Make `user_id` the supplier `supplier_id`. True if that is new. Raises RefusedError (supplier_taken)."""
    owner = connection.execute(
        select(suppliers.c.user_id).where(suppliers.c.supplier_id == supplier_id)
    ).scalar_one_or_none()
    if owner == user_id:
        return False
    if owner is not None:
        raise RefusedError(SUPPLIER_TAKEN, f"Supplier {supplier_id!r} already belongs to another user.")
    changed = connection.execute(
        suppliers.update().where(suppliers.c.user_id == user_id).values(supplier_id=supplier_id)
    )
    if not changed.rowcount:
        connection.execute(suppliers.insert(), {"user_id": user_id, "supplier_id": supplier_id})
    return True
