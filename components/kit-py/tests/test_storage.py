import datetime
import math
import unittest
from typing import Any

from comptoir import StorageError, Transaction, begin, execute, query, query_one, transaction

from . import serve


def it(sql: str, *parameters: Any) -> Any:
    row = query_one(f"SELECT {sql} AS it", parameters)
    return row and row["it"]


def insert(opened: Transaction, name: str) -> int:
    return opened.execute("INSERT INTO things (name) VALUES ($1)", [name])


class Storage(unittest.TestCase):
    def setUp(self) -> None:
        serve()

    def test_every_value_comes_back_as_it_was_stored(self) -> None:
        for value in [None, 0, -1, 1.5, 3.0, "", "Łukasz 日本", b"\x00\xff", 2**62, -(2**63)]:
            self.assertEqual((it("$1", value), type(it("$1", value))), (value, type(value)))
        self.assertEqual(it("$1", True), 1)

    def test_a_parameter_of_another_type_is_refused_with_its_number(self) -> None:
        for value in [math.nan, math.inf, 2**63, {}, [], datetime.date.today(), object()]:
            with self.assertRaisesRegex(TypeError, r"parameter \$2 has the type"):
                query("SELECT $1, $2", [1, value])

    def test_rows_are_dictionaries_by_column_names(self) -> None:
        rows = query("SELECT 1 AS a, 'x' AS \"b c\" UNION SELECT 2, NULL")
        self.assertEqual(rows, [{"a": 1, "b c": "x"}, {"a": 2, "b c": None}])
        self.assertEqual((query("SELECT 1 AS a WHERE 0"), query_one("SELECT 1 AS a WHERE 0")), ([], None))
        with self.assertRaisesRegex(StorageError, "two columns are named a"):
            query("SELECT 1 AS a, 2 AS a")

    def test_a_write_returns_the_number_of_rows_and_a_violated_constraint_its_kind(self) -> None:
        self.assertEqual(execute("INSERT INTO things (name) VALUES ($1), ($2)", ["a", "b"]), 2)
        table = [
            ("INSERT INTO things (name) VALUES ('a')", "constraint", "unique"),
            ("INSERT INTO things (name) VALUES (NULL)", "constraint", "not-null"),
            ("INSERT INTO nothing VALUES (1)", "invalid", None),
            ("INSERT INTO things (name) VALUES ($1)", "invalid", None),
        ]
        for sql, kind, constraint in table:
            with self.assertRaises(StorageError) as raised:
                execute(sql)
            self.assertEqual((raised.exception.kind, raised.exception.constraint), (kind, constraint))

    def test_a_query_outside_a_transaction_cannot_write(self) -> None:
        with self.assertRaises(StorageError):
            query("INSERT INTO things (name) VALUES ('a') RETURNING id")

    def test_a_transaction_writes_all_or_nothing(self) -> None:
        with transaction() as opened:
            self.assertEqual(insert(opened, "a"), 1)
        with self.assertRaises(StorageError), transaction() as opened:
            insert(opened, "b")
            insert(opened, "a")
        with transaction() as opened:
            insert(opened, "d")
            opened.rollback()
        self.assertEqual(query("SELECT name FROM things"), [{"name": "a"}])

    def test_a_transaction_can_be_committed_by_hand_and_ends_only_once(self) -> None:
        opened = begin()
        self.assertEqual(opened.query("INSERT INTO things (name) VALUES ('a') RETURNING id"), [{"id": 1}])
        with self.assertRaises(StorageError) as raised:
            begin()
        self.assertEqual(raised.exception.kind, "busy")
        opened.commit()
        with self.assertRaisesRegex(RuntimeError, "the transaction has ended"):
            opened.commit()
        opened.rollback()
        self.assertEqual(len(query("SELECT * FROM things")), 1)
