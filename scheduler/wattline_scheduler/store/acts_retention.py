"""Retention of members' acts: by age, per member and in total."""

import sqlite3


def drop_acts(
    db: sqlite3.Connection, before_unix_s: float, max_of_one: int, max_total: int
) -> None:
    """Delete acts before a time, then the oldest of members over their limit, then of all."""
    db.execute("DELETE FROM acts WHERE unix_s < ?", (before_unix_s,))
    many = "SELECT who FROM acts GROUP BY who HAVING count(*) > ?"
    for (actor,) in db.execute(many, (max_of_one,)).fetchall():
        db.execute(
            "DELETE FROM acts WHERE who = ? AND seq <="
            " (SELECT seq FROM acts WHERE who = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (actor, actor, max_of_one),
        )
    db.execute(
        "DELETE FROM acts WHERE seq <= (SELECT seq FROM acts ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (max_total,),
    )
