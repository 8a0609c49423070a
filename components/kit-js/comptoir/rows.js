// The rows of a query: unpacks the host's bytes into objects. `wit/storage.wit` describes the format.

import { StorageError } from "./error.js";

/** @typedef {null | number | bigint | string | Uint8Array} Value a value of a row: a BigInt only beyond 2^53 */
/** @typedef {Record<string, any>} Row the values of a row, by column names */

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Unpacks rows into objects with the column names as members.
 *
 * @param {Uint8Array} packed
 * @returns {Row[]}
 */
export function unpack(packed) {
  const reader = new Reader(packed);
  const columns = Array.from({ length: reader.u32() }, () => reader.text());
  checkNames(columns);
  const rows = [];
  while (columns.length > 0 && reader.hasMore()) {
    rows.push(Object.fromEntries(columns.map((name) => [name, reader.value()])));
  }
  return rows;
}

/** @param {string[]} columns */
function checkNames(columns) {
  const twice = columns.find((name, index) => columns.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new StorageError({ tag: "invalid", val: `two columns are named ${twice}: rename one of them with AS` });
  }
}

/** Reads packed values, one after another. */
class Reader {
  /** @param {Uint8Array} packed */
  constructor(packed) {
    this.packed = packed;
    this.view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
    this.at = 0;
  }

  hasMore() {
    return this.at < this.packed.length;
  }

  /** @param {number} length */
  skip(length) {
    const start = this.at;
    this.at += length;
    return start;
  }

  u32() {
    return this.view.getUint32(this.skip(4), true);
  }

  bytes() {
    const length = this.u32();
    return this.packed.subarray(this.skip(length), this.at);
  }

  text() {
    return utf8.decode(this.bytes());
  }

  integer() {
    const integer = this.view.getBigInt64(this.skip(8), true);
    const number = Number(integer);
    return Number.isSafeInteger(number) ? number : integer;
  }

  /** @returns {Value} */
  value() {
    const type = this.packed[this.skip(1)];
    if (type === 0) return null;
    if (type === 1) return this.integer();
    if (type === 2) return this.view.getFloat64(this.skip(8), true);
    if (type === 3) return this.text();
    if (type === 4) return this.bytes().slice();
    throw new StorageError({ tag: "invalid", val: "cannot unpack the rows from the host" });
  }
}
