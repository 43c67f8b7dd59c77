// The types of `wit/handler.wit`, which explains each function. A refusal of a host function is
// thrown; its `payload` is a `Failure`.
declare module 'weir:handler/types' {
  export interface Event {
    /** `evt_` and a ULID: the same on every attempt and replay. */
    id: string;
    /** The name of its source. For an emitted event: `@` and the name of the handler. */
    source: string;
    type: string;
    category: string | undefined;
    deliveryId: string | undefined;
    /** In milliseconds since 1970-01-01 UTC; `Number(event.receivedAt)` works in every engine. */
    receivedAt: bigint;
    contentType: string;
  }

  export type RefusalCode =
    | 'not-granted'
    | 'not-found'
    | 'invalid'
    | 'too-large'
    | 'too-many'
    | 'quota'
    | 'unavailable'
    | 'other';

  export interface Refusal {
    code: RefusalCode;
    message: string;
  }

  /** What `handle` throws to fail. */
  export type Failure =
    | { tag: 'retry'; val: string }
    | { tag: 'reject'; val: string }
    | { tag: 'refused'; val: Refusal };
}

declare module 'weir:handler/manifest' {
  export function about(text: string): void;
  export function subscribe(pattern: string): void;
  export function stateVersion(version: number): void;
  export function needsDestination(name: string): void;
}

declare module 'weir:handler/request' {
  export function text(): string;
  export function bytes(): Uint8Array;
  export function header(name: string): string | undefined;
  export function headers(): [string, string][];
  export function method(): string;
  export function query(): string;
  export function pathRest(): string;
}

declare module 'weir:handler/log' {
  export function debug(message: string): void;
  export function info(message: string): void;
  export function warn(message: string): void;
  export function error(message: string): void;
}

declare module 'weir:handler/config' {
  export function get(key: string): string | undefined;
}

declare module 'weir:handler/context' {
  export function attempt(): number;
  export function now(): bigint;
  export function random(length: number): Uint8Array;
  export function parent(): string | undefined;
  export function retryAfter(seconds: number): void;
}

declare module 'weir:handler/state' {
  export function get(key: string): string | undefined;
  export function set(key: string, value: string): void;
  /** Returns the sum; convert it with `Number(...)`. */
  export function add(key: string, delta: number | bigint): number | bigint;
  export function expire(key: string, seconds: number): void;
  export function remove(key: string): void;
  export function keys(prefix: string, after: string, limit: number): string[];
}

declare module 'weir:handler/outbox' {
  export function send(destination: string, contentType: string, body: Uint8Array): string;
  export function sendJson(destination: string, json: string): string;
  export function forward(destination: string): string;
  export function emit(type: string, contentType: string, body: Uint8Array): string;
  export function emitJson(type: string, json: string): string;
  export function setHeader(id: string, name: string, value: string): void;
  export function setDelay(id: string, seconds: number): void;
  export function setKey(id: string, key: string): void;
  export function cancel(key: string): boolean;
  export function cancelAhead(key: string, seconds: number): boolean;
}

declare module 'weir:handler/reply' {
  export function set(status: number, contentType: string, body: Uint8Array): void;
  export function setJson(json: string): void;
  export function setHeader(name: string, value: string): void;
}
