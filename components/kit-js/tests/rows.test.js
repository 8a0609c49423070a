import assert from "node:assert/strict";
import { test } from "node:test";

import { StorageError, begin, execute, query, queryOne, real, transaction } from "../comptoir/index.js";
import { serve } from "./helper.js";

const one = (sql, parameters) => queryOne(`SELECT ${sql} AS it`, parameters).it;

test("every value comes back as it was stored", () => {
  serve();
  for (const value of [null, 0, -1, 1.5, "", "Łukasz 日本", new Uint8Array([0, 255]), 2n ** 62n, -(2n ** 63n)]) {
    assert.deepEqual(one("$1", [value]), value);
  }
  assert.equal(one("$1", [true]), 1);
  assert.equal(one("$1", [5n]), 5);
  assert.equal(one("$1", [real(3)]), 3);
});

test("a parameter of another type is refused with its number", () => {
  serve();
  for (const value of [undefined, NaN, Infinity, 2 ** 60, 2n ** 63n, {}, [], new Date(), Symbol("x"), real(NaN)]) {
    assert.throws(() => query("SELECT $1, $2", [1, value]), /^TypeError: parameter \$2 has the type/);
  }
});

test("rows are objects by column names", () => {
  serve();
  assert.deepEqual(query("SELECT 1 AS a, 'x' AS \"b c\" UNION SELECT 2, NULL"), [{ a: 1, "b c": "x" }, { a: 2, "b c": null }]);
  assert.deepEqual(query("SELECT 1 AS a WHERE 0"), []);
  assert.equal(queryOne("SELECT 1 AS a WHERE 0"), undefined);
});

test("a write returns the number of rows, and a violated constraint its kind", () => {
  serve();
  assert.equal(execute("INSERT INTO things (name) VALUES ($1), ($2)", ["a", "b"]), 2);
  const violated = (sql) => {
    try {
      execute(sql);
    } catch (error) {
      return [error instanceof StorageError, error.kind, error.constraint];
    }
  };
  assert.deepEqual(violated("INSERT INTO things (name) VALUES ('a')"), [true, "constraint", "unique"]);
  assert.deepEqual(violated("INSERT INTO things (name) VALUES (NULL)"), [true, "constraint", "not-null"]);
  assert.deepEqual(violated("INSERT INTO nothing VALUES (1)"), [true, "invalid", null]);
  assert.deepEqual(violated("INSERT INTO things (name) VALUES ($1)"), [true, "invalid", null]);
});

test("a query outside a transaction cannot write", () => {
  serve();
  assert.throws(() => query("INSERT INTO things (name) VALUES ('a') RETURNING id"), StorageError);
});

const count = () => queryOne("SELECT count(*) AS it FROM things").it;

test("a transaction writes all or nothing", () => {
  serve();
  const insert = (open, name) => open.execute("INSERT INTO things (name) VALUES ($1)", [name]);
  assert.equal(transaction((open) => insert(open, "a")), 1);
  const both = (open) => [insert(open, "b"), insert(open, "a")];
  assert.throws(() => transaction(both), (error) => error.constraint === "unique");
  assert.throws(() => transaction(async (open) => insert(open, "c")), /must not be async/);
  transaction((open) => {
    insert(open, "d");
    open.rollback();
  });
  assert.equal(count(), 1);
});

test("a transaction can be committed by hand, and ends only once", () => {
  serve();
  const open = begin();
  assert.deepEqual(open.query("INSERT INTO things (name) VALUES ('a') RETURNING id"), [{ id: 1 }]);
  assert.throws(() => begin(), (error) => error.kind === "busy");
  open.commit();
  assert.throws(() => open.commit(), /the transaction has ended/);
  open.rollback();
  assert.equal(count(), 1);
});
