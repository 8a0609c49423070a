// The host's interfaces, for editors. `wit/` describes them.

declare module "comptoir:platform/storage@0.1.0" {
  export type Value =
    | { tag: "null" }
    | { tag: "integer"; val: bigint }
    | { tag: "real"; val: number }
    | { tag: "text"; val: string }
    | { tag: "blob"; val: Uint8Array };

  export function query(sql: string, params: Value[]): Uint8Array;
  export function execute(sql: string, params: Value[]): bigint;
  export function begin(): Transaction;

  export class Transaction {
    query(sql: string, params: Value[]): Uint8Array;
    execute(sql: string, params: Value[]): bigint;
    static commit(transaction: Transaction): void;
    [Symbol.dispose](): void;
  }
}

declare module "comptoir:platform/session@0.1.0" {
  export function hasEnded(): boolean;
}

declare module "wasi:clocks/wall-clock@0.2.12" {
  export function now(): { seconds: bigint; nanoseconds: number };
}
