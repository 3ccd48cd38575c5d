"""Retention of members' acts: by age, per member and in total."""

import sqlite3

SETTLED_S = 7 * 86_400.0
"""Age is measured from the newest act that is at least this old, not from the clock: a run whose
clock is years ahead deletes nothing within this time, whatever it writes itself."""

_EXPIRED = """
DELETE FROM acts
WHERE unix_s + :retention_s <
    (SELECT unix_s FROM acts WHERE unix_s <= :settled_unix_s ORDER BY seq DESC LIMIT 1)
"""


def drop_acts(
    db: sqlite3.Connection, now_unix_s: float, retention_s: float, max_of_one: int, max_total: int
) -> None:
    """Delete expired acts, then the oldest of members over their limit, then the oldest of all."""
    age = {"settled_unix_s": now_unix_s - SETTLED_S, "retention_s": retention_s}
    db.execute(_EXPIRED, age)
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
