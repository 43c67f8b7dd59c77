//! Every fixed limit that a released contract or format states, with its unit and reason.
//!
//! Limits that an operator can set are fields of the configuration; their ceilings are here.

/// Bytes in a kibibyte.
pub const KIB: usize = 1024;
/// Bytes in a mebibyte.
pub const MIB: usize = 1024 * KIB;

/// Largest body a source may be configured to accept. GitHub caps its own payloads at 25 MB.
pub const BODY_BYTES_MAX: usize = 25 * MIB;
/// Longest event type, in bytes; it is a column and a label in every list.
pub const EVENT_TYPE_BYTES_MAX: usize = 200;
/// Longest sender's delivery id that is kept, in bytes. Longer ones still deduplicate: the key is a hash.
pub const DELIVERY_ID_BYTES_MAX: usize = 256;
/// Most events that one request may carry; they are stored in one commit.
pub const EVENTS_PER_REQUEST_MAX: usize = 10_000;
/// Longest reason kept with an attempt, in bytes.
pub const REASON_BYTES_MAX: usize = 4 * KIB;

/// Runs of one delivery, in one generation, that the host may not survive before it is given up: the first may have
/// been its neighbour's fault, and from then on it runs alone.
pub const HOST_LOST_MAX: u32 = 2;

/// Most effects one run may ask for.
pub const EFFECTS_PER_RUN_MAX: usize = 1_000;
/// Largest single message or emitted event, in bytes.
pub const EFFECT_BYTES_MAX: usize = 25 * MIB;
/// Largest sum of all messages and emitted events of one run, in bytes.
pub const EFFECT_BYTES_PER_RUN_MAX: usize = 32 * MIB;
/// Most headers on a message or reply.
pub const EFFECT_HEADERS_MAX: usize = 64;
/// Longest header name that a handler may set, in bytes.
pub const EFFECT_HEADER_NAME_BYTES_MAX: usize = 128;
/// Longest header value that a handler may set, in bytes.
pub const EFFECT_HEADER_VALUE_BYTES_MAX: usize = 8 * KIB;
/// Longest type of an emitted event, in bytes.
pub const EMIT_TYPE_BYTES_MAX: usize = 128;
/// Longest key under which an effect can be cancelled, in bytes.
pub const EFFECT_KEY_BYTES_MAX: usize = 256;
/// Longest delay of an effect, and longest life of a cancellation made ahead, in seconds (30 days).
pub const EFFECT_DELAY_SECONDS_MAX: u32 = 2_592_000;
/// Emits between an event and the first of its line; more is refused, which stops circles.
pub const EMIT_DEPTH_MAX: u8 = 16;
/// Events that may be emitted, directly or not, in the line that begins with one event: a run that would go past it
/// is refused, which stops avalanches.
pub const DESCENDANTS_MAX: u64 = 10_000;
/// Times that a line of messages may leave this hub: what comes back with so many behind it is refused, which stops
/// circles that lead through the network.
pub const HOPS_MAX: u8 = 8;
/// Largest reply of a responder, in bytes.
pub const REPLY_BYTES_MAX: usize = MIB;
/// Longest wait a handler may ask for with `retry-after`, in seconds (a day).
pub const RETRY_AFTER_SECONDS_MAX: u32 = 86_400;

/// Longest key of a handler's state, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// Largest value of a handler's state, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * KIB;
/// Largest state of one handler, keys and values, in bytes.
pub const STATE_BYTES_PER_HANDLER_MAX: usize = 64 * MIB;
/// Most state calls in one run.
pub const STATE_CALLS_PER_RUN_MAX: usize = 1_000;
/// Most keys in one answer of `state.keys`.
pub const STATE_KEYS_PER_CALL_MAX: u32 = 1_000;
/// Longest expiry of a state key, in seconds (a year).
pub const STATE_EXPIRY_SECONDS_MAX: u32 = 31_536_000;

/// Log bytes kept per run.
pub const LOG_BYTES_PER_RUN_MAX: usize = MIB;
/// Longest log line kept, in bytes.
pub const LOG_LINE_BYTES_MAX: usize = 16 * KIB;
/// Random bytes per call of `context.random`.
pub const RANDOM_BYTES_PER_CALL_MAX: u32 = 1_024;
/// Subscriptions that one module may ask for.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// Longest `about` line of a handler, in bytes.
pub const ABOUT_BYTES_MAX: usize = 500;
/// Largest module file, in bytes.
pub const MODULE_BYTES_MAX: usize = 64 * MIB;

const _: () = assert!(EFFECT_BYTES_MAX <= EFFECT_BYTES_PER_RUN_MAX);
const _: () = assert!(EMIT_TYPE_BYTES_MAX <= EVENT_TYPE_BYTES_MAX);
