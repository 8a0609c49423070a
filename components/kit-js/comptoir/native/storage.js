// The interface `storage`, with an SQLite database in memory.

import sqlite from "node-sqlite3-wasm";

/** @typedef {{ tag: string, val?: any }} Value */

/** @type {any} */
let database;
let isWriting = false;

/**
 * Replaces the database by a new one.
 *
 * @param {string[]} migrations
 */
export function install(migrations) {
  database = new sqlite.Database(":memory:");
  isWriting = false;
  database.exec("PRAGMA foreign_keys = ON");
  migrations.forEach((sql) => database.exec(sql));
  return database;
}

/**
 * @param {string} sql
 * @param {Value[]} parameters
 */
export function query(sql, parameters) {
  database.exec("PRAGMA query_only = ON");
  try {
    return rows(sql, parameters);
  } finally {
    database.exec("PRAGMA query_only = OFF");
  }
}

/**
 * @param {string} sql
 * @param {Value[]} parameters
 */
export function execute(sql, parameters) {
  return BigInt(checked(() => database.run(sql, bound(sql, parameters))).changes);
}

export function begin() {
  if (isWriting) throw failure("busy");
  checked(() => database.exec("BEGIN IMMEDIATE"));
  isWriting = true;
  return new Transaction();
}

export class Transaction {
  isOpen = true;

  /**
   * @param {string} sql
   * @param {Value[]} parameters
   */
  query(sql, parameters) {
    return rows(sql, parameters);
  }

  /**
   * @param {string} sql
   * @param {Value[]} parameters
   */
  execute(sql, parameters) {
    return execute(sql, parameters);
  }

  /** @param {Transaction} transaction */
  static commit(transaction) {
    transaction.end("COMMIT");
  }

  [Symbol.dispose]() {
    this.end("ROLLBACK");
  }

  /** @param {string} sql */
  end(sql) {
    if (!this.isOpen) return;
    isWriting = this.isOpen = false;
    checked(() => database.exec(sql));
  }
}

/**
 * @param {string} sql
 * @param {Value[]} parameters
 */
function rows(sql, parameters) {
  return pack(checked(() => database.all(sql, bound(sql, parameters))));
}

/**
 * The parameters by name.
 *
 * @param {string} sql
 * @param {Value[]} parameters
 */
function bound(sql, parameters) {
  const numbers = [...sql.matchAll(/\$(\d+)/g)].map(([, digits]) => Number(digits));
  if (Math.max(0, ...numbers) !== parameters.length) throw failure("invalid", "wrong number of parameters");
  const used = [...new Set(numbers)].map((number) => [`$${number}`, parameters[number - 1].val ?? null]);
  return used.length === 0 ? undefined : Object.fromEntries(used);
}

/** What SQLite says about a violated constraint. */
const CONSTRAINTS = [
  ["UNIQUE constraint", "unique"],
  ["FOREIGN KEY constraint", "foreign-key"],
  ["CHECK constraint", "check"],
  ["NOT NULL constraint", "not-null"],
  ["cannot store", "other"],
];

/**
 * @template T
 * @param {() => T} call
 * @returns {T}
 */
function checked(call) {
  try {
    return call();
  } catch (error) {
    const { message, payload } = /** @type {any} */ (error);
    if (payload !== undefined) throw error;
    const constraint = CONSTRAINTS.find(([text]) => message.includes(text));
    throw constraint ? failure("constraint", constraint[1]) : failure("invalid", message);
  }
}

/**
 * An error as the host throws it.
 *
 * @param {string} tag
 * @param {string} [val]
 */
function failure(tag, val) {
  return Object.assign(new Error(tag), { payload: { tag, val } });
}

/**
 * Packs rows as the host does. `wit/storage.wit` describes the format.
 *
 * @param {Record<string, any>[]} rows
 */
function pack(rows) {
  const columns = Object.keys(rows[0] ?? {});
  const values = rows.flatMap((row) => Object.values(row).map(packed));
  return Uint8Array.from(Buffer.concat([u32(columns.length), ...columns.map(text), ...values]));
}

/** @param {any} value */
function packed(value) {
  if (value === null) return Buffer.from([0]);
  if (typeof value === "string") return Buffer.concat([Buffer.from([3]), text(value)]);
  if (value instanceof Uint8Array) return Buffer.concat([Buffer.from([4]), u32(value.length), value]);
  const bytes = Buffer.alloc(9);
  const isInteger = typeof value === "bigint" || Number.isSafeInteger(value);
  bytes[0] = isInteger ? 1 : 2;
  if (isInteger) bytes.writeBigInt64LE(BigInt(value), 1);
  else bytes.writeDoubleLE(value, 1);
  return bytes;
}

/** @param {string} value */
function text(value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([u32(bytes.length), bytes]);
}

/** @param {number} value */
function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
