// SQL on the service's own database.
//
// Statements number their parameters `$1`, `$2`, … SQL functions for the time and for random numbers are not available: pass such
// values as parameters. Every function throws a `StorageError` if the statement has no effect.

import * as host from "comptoir:platform/storage@0.1.0";

import { StorageError } from "./error.js";
import { unpack } from "./rows.js";

/** @typedef {null | boolean | number | bigint | string | Uint8Array | Real} Parameter */
/** @typedef {import("./rows.js").Row} Row */

/**
 * Reads rows outside a transaction, as objects by column names. Sees every commit that was acknowledged before.
 *
 * @param {string} sql
 * @param {Parameter[]} [parameters]
 * @returns {Row[]}
 */
export function query(sql, parameters = []) {
  return unpack(checked(() => host.query(sql, parameters.map(valueOf))));
}

/**
 * The first row of a query. Undefined if there is none.
 *
 * @param {string} sql
 * @param {Parameter[]} [parameters]
 * @returns {Row | undefined}
 */
export function queryOne(sql, parameters) {
  return query(sql, parameters)[0];
}

/**
 * Writes in its own transaction and returns the number of changed rows. When it returns, the write is durable.
 *
 * @param {string} sql
 * @param {Parameter[]} [parameters]
 * @returns {number}
 */
export function execute(sql, parameters = []) {
  return Number(checked(() => host.execute(sql, parameters.map(valueOf))));
}

/**
 * Begins a transaction, which takes the only writer of the database. End it with `commit` or `rollback`.
 *
 * Other writers wait meanwhile, so the host ends a transaction after its lease: one second unless the manifest sets another.
 */
export function begin() {
  return new Transaction(checked(() => host.begin()));
}

/**
 * Does some work in a transaction, and commits. If the work throws, nothing was written. Returns what the work returns.
 *
 * The work cannot be async, because other writers wait for it. `request.transaction` also checks the caller's session.
 *
 * @template T
 * @param {(transaction: Transaction) => T} work
 * @returns {T}
 */
export function transaction(work) {
  const open = begin();
  try {
    const result = work(open);
    if (typeof (/** @type {any} */ (result)?.then) === "function") {
      throw new TypeError("the work of a transaction must not be async: await before the transaction");
    }
    if (open.isOpen) open.commit();
    return result;
  } finally {
    open.rollback();
  }
}

/** An open transaction. Its writes are durable when `commit` returns. */
export class Transaction {
  /** @type {host.Transaction | null} */
  #handle;

  /** @param {host.Transaction} handle */
  constructor(handle) {
    this.#handle = handle;
  }

  /** Whether the transaction has neither been committed nor rolled back. */
  get isOpen() {
    return this.#handle !== null;
  }

  /**
   * Reads committed rows and this transaction's writes. Can also write, with `RETURNING`.
   *
   * @param {string} sql
   * @param {Parameter[]} [parameters]
   * @returns {Row[]}
   */
  query(sql, parameters = []) {
    const handle = this.#opened();
    return unpack(checked(() => handle.query(sql, parameters.map(valueOf))));
  }

  /**
   * The first row of a query. Undefined if there is none.
   *
   * @param {string} sql
   * @param {Parameter[]} [parameters]
   * @returns {Row | undefined}
   */
  queryOne(sql, parameters) {
    return this.query(sql, parameters)[0];
  }

  /**
   * Writes and returns the number of changed rows.
   *
   * @param {string} sql
   * @param {Parameter[]} [parameters]
   * @returns {number}
   */
  execute(sql, parameters = []) {
    const handle = this.#opened();
    return Number(checked(() => handle.execute(sql, parameters.map(valueOf))));
  }

  /** Makes all writes durable. After an error, none was written. */
  commit() {
    const handle = this.#opened();
    this.#handle = null;
    checked(() => host.Transaction.commit(handle));
  }

  /** Discards all writes. Does nothing after the end of the transaction. */
  rollback() {
    this.#handle?.[Symbol.dispose]();
    this.#handle = null;
  }

  #opened() {
    if (this.#handle === null) throw new Error("the transaction has ended");
    return this.#handle;
  }
}

/** A number that is stored as a real number, even if it is whole. */
class Real {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

/**
 * Marks a number as real: for columns of the type REAL in PostgreSQL, which does not mix integers and reals.
 *
 * @param {number} value
 */
export function real(value) {
  return new Real(value);
}

/**
 * Calls the host. Its errors become a `StorageError`.
 *
 * @template T
 * @param {() => T} call
 * @returns {T}
 */
function checked(call) {
  try {
    return call();
  } catch (error) {
    const { payload } = /** @type {any} */ (error);
    throw typeof payload?.tag === "string" ? new StorageError(payload) : error;
  }
}

/**
 * The value of a parameter for the host.
 *
 * @param {Parameter} value
 * @param {number} index
 * @returns {host.Value}
 */
function valueOf(value, index) {
  if (value === null) return { tag: "null" };
  if (typeof value === "string") return { tag: "text", val: value };
  if (typeof value === "boolean") return { tag: "integer", val: value ? 1n : 0n };
  if (value instanceof Uint8Array) return { tag: "blob", val: value };
  if (value instanceof Real && Number.isFinite(value.value)) return { tag: "real", val: value.value };
  if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) return { tag: "integer", val: value };
  if (Number.isSafeInteger(value)) return { tag: "integer", val: BigInt(/** @type {number} */ (value)) };
  if (Number.isFinite(value) && !Number.isInteger(value)) return { tag: "real", val: /** @type {number} */ (value) };
  throw new TypeError(`parameter $${index + 1} has the type ${typeOf(value)}: ${ACCEPTED}`);
}

const ACCEPTED =
  "pass null, a boolean, a string, a Uint8Array, a BigInt of 64 bits, or a finite number. Beyond 2^53, pass a BigInt or real()";

/** @param {unknown} value */
function typeOf(value) {
  return typeof value === "object" ? (value?.constructor?.name ?? "object") : typeof value;
}
