//! Fixed limits of released contracts and formats, with unit and reason.
//!
//! Limits that an operator can set are in the configuration; their ceilings are here.

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// The maximum body that a source may be configured to accept. GitHub limits its payloads to 25 MB.
pub const BODY_BYTES_MAX: usize = 25 * MIB;
/// The maximum length of an event type, in bytes; it is a column and a label in every list.
pub const EVENT_TYPE_BYTES_MAX: usize = 200;
/// The maximum length of a sender's id that is stored, in bytes. A longer id still deduplicates,
/// because the key is a hash.
pub const DELIVERY_ID_BYTES_MAX: usize = 256;
/// The maximum number of events in one request; they are stored in one commit.
pub const EVENTS_PER_REQUEST_MAX: usize = 10_000;
/// The maximum length of an attempt's reason, in bytes.
pub const REASON_BYTES_MAX: usize = 4 * KIB;

/// The number of runs of one delivery, in one generation, that may crash the hub before the
/// delivery is a dead letter. The first crash may have been a neighbour's fault; from then on the
/// delivery runs alone.
pub const HOST_LOST_MAX: u32 = 2;

/// The maximum number of effects of one run.
pub const EFFECTS_PER_RUN_MAX: usize = 1_000;
/// The maximum size of one message or emitted event, in bytes.
pub const EFFECT_BYTES_MAX: usize = 25 * MIB;
/// The maximum size of all messages and emitted events of one run, in bytes.
pub const EFFECT_BYTES_PER_RUN_MAX: usize = 32 * MIB;
/// The maximum number of headers of a message or reply.
pub const EFFECT_HEADERS_MAX: usize = 64;
/// The maximum length of a header name that a handler sets, in bytes.
pub const EFFECT_HEADER_NAME_BYTES_MAX: usize = 128;
/// The maximum length of a header value that a handler sets, in bytes.
pub const EFFECT_HEADER_VALUE_BYTES_MAX: usize = 8 * KIB;
/// The maximum length of an emitted event's type, in bytes.
pub const EMIT_TYPE_BYTES_MAX: usize = 128;
/// The maximum length of a key that cancels an effect, in bytes.
pub const EFFECT_KEY_BYTES_MAX: usize = 256;
/// The maximum delay of an effect, and the maximum life of a cancellation made in advance, in
/// seconds (30 days).
pub const EFFECT_DELAY_SECONDS_MAX: u32 = 2_592_000;
/// The maximum number of emits between an event and the first of its lineage; it stops loops.
pub const EMIT_DEPTH_MAX: u8 = 16;
/// The maximum number of events that may be emitted, directly or not, from one event; a run that
/// would exceed it is refused, which stops avalanches.
pub const DESCENDANTS_MAX: u64 = 10_000;
/// The maximum number of times that a lineage may leave this hub: a request with this many hops is
/// refused, which stops loops through the network.
pub const HOPS_MAX: u8 = 8;
/// The maximum size of a responder's reply, in bytes.
pub const REPLY_BYTES_MAX: usize = MIB;
/// The maximum wait that a handler may ask for with `retry-after`, in seconds (a day).
pub const RETRY_AFTER_SECONDS_MAX: u32 = 86_400;

/// The maximum length of a state key, in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// The maximum size of a state value, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * KIB;
/// The maximum state of one handler, keys and values, in bytes.
pub const STATE_BYTES_PER_HANDLER_MAX: usize = 64 * MIB;
/// The maximum number of state calls in one run.
pub const STATE_CALLS_PER_RUN_MAX: usize = 1_000;
/// The maximum record of what a run read, kept with its attempt, in bytes.
pub const READS_RECORD_BYTES_MAX: usize = 64 * KIB;
/// The maximum number of keys in one result of `state.keys`.
pub const STATE_KEYS_PER_CALL_MAX: u32 = 1_000;
/// The maximum expiry of a state key, in seconds (a year).
pub const STATE_EXPIRY_SECONDS_MAX: u32 = 31_536_000;

/// The maximum log of one run, in bytes.
pub const LOG_BYTES_PER_RUN_MAX: usize = MIB;
/// The maximum length of a log line, in bytes.
pub const LOG_LINE_BYTES_MAX: usize = 16 * KIB;
/// The maximum number of random bytes in one call of `context.random`.
pub const RANDOM_BYTES_PER_CALL_MAX: u32 = 1_024;
/// The maximum number of subscriptions of one module.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// The maximum number of destinations that one module says it needs.
pub const NEEDED_DESTINATIONS_MAX: usize = 100;
/// The maximum length of a handler's `about` line, in bytes.
pub const ABOUT_BYTES_MAX: usize = 500;
/// The maximum size of a module file, in bytes.
pub const MODULE_BYTES_MAX: usize = 64 * MIB;

const _: () = assert!(EFFECT_BYTES_MAX <= EFFECT_BYTES_PER_RUN_MAX);
const _: () = assert!(EMIT_TYPE_BYTES_MAX <= EVENT_TYPE_BYTES_MAX);
