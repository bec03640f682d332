"""The statements of receipts find each row by its whole key, however many receipts there are."""

from pathlib import Path
from typing import Any

from sqlalchemy import event

from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.receipts.store import Batch, write

KEY = "(system=? AND position=? AND recipient=?)"


def test_a_batch_of_acknowledgements_reads_no_other_receipts(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}")
    try:
        database.migrate("oyez", MIGRATIONS / "versions")
        plans: list[str] = []
        with database.connect() as connection:

            def explain(cursor: Any, statement: str, parameters: Any) -> None:
                if statement.lstrip().startswith("INSERT") and "json_each" in statement:
                    rows = cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
                    plans.append("\n".join(row[-1] for row in rows))

            @event.listens_for(connection, "before_cursor_execute")
            def before(_c: Any, cursor: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> None:
                explain(cursor, statement, parameters)

            connection.exec_driver_sql("PRAGMA query_only = OFF")
            batch = Batch((), [("e.1", "ada", 1.0, None)], [("e.1", "ada", 2.0)], {})
            write(connection, "s", batch)
        assert len(plans) == 2
        assert KEY in plans[1]
        assert not any("SCAN oyez_receipts" in plan or "SCAN known" in plan for plan in plans)
    finally:
        database.close()
