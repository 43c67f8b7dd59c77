//! The schemas of texts whose types are defined elsewhere: ids, names, times and words. They stand
//! for those types in the document of the API, and have no values.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::event::Category;
use weir_core::job::{JobKind, JobState};

use crate::observe::pull_metrics::ConnectionState;
use crate::observe::shapes::FieldChange;
use crate::observe::source_work::SourceState;

/// A schema of text that matches a pattern.
pub(super) fn text(about: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    object.pattern(Some(pattern)).examples([Value::from(example)]).into()
}

/// A schema of a time in RFC 3339.
fn time(about: &str) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let example = Value::from("2026-01-15T09:30:10.340Z");
    object.format(Some(format)).examples([example]).into()
}

/// A schema of one of these words.
fn word(about: &str, words: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    object.enum_values(Some(words)).into()
}

macro_rules! schemas {
    ($($type:ident, $name:literal, $about:literal, |$said:ident| $schema:expr;)*) => {$(
        #[doc = $about]
        #[derive(Debug)]
        pub enum $type {}

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let $said = $about;
                $schema
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    )*};
}

/// The words of an enum.
macro_rules! words {
    ($type:ty) => {
        <$type>::ALL.iter().map(|value| value.as_str())
    };
}

schemas! {
    TimestampText, "Timestamp", "A time in RFC 3339.", |about| time(about);
    EventIdText, "EventId", "The id of an event.", |about| {
        text(about, "^evt_[0-9A-HJKMNP-TV-Z]{26}$", "evt_01K9ZR3V6QH8N4T2M5W7XADCBE")
    };
    RequestIdText, "RequestId", "The id of a request.", |about| {
        text(about, "^req_[0-9A-HJKMNP-TV-Z]{26}$", "req_01K9ZR3V6QH8N4T2M5W7XADCBE")
    };
    DeliveryIdText, "DeliveryId", "The id of a delivery.", |about| {
        text(about, "^dlv_[0-9A-HJKMNP-TV-Z]{26}$", "dlv_01K9ZR3V6QH8N4T2M5W7XADCBE")
    };
    AttemptIdText, "AttemptId", "The id of an attempt.", |about| {
        text(about, "^att_[0-9A-HJKMNP-TV-Z]{26}$", "att_01K9ZR3V6QH8N4T2M5W7XADCBE")
    };
    MessageIdText, "MessageId", "The id of a message.", |about| {
        text(about, "^msg_[0-9A-HJKMNP-TV-Z]{26}$", "msg_01K9ZR3V6QH8N4T2M5W7XADCBE")
    };
    QuarantineIdText, "QuarantineId", "The id of a request in the quarantine.", |about| {
        text(about, "^qrt_[0-9A-HJKMNP-TV-Z]{26}$", "qrt_01K9ZR3V6QH8N4T2M5W7XADCBE")
    };
    SourceNameText, "SourceName", "The name of a source; `@NAME` is what a handler emits.",
        |about| text(about, "^@?[a-z0-9][a-z0-9_-]*$", "github");
    HandlerNameText, "HandlerName", "The name of a handler.",
        |about| text(about, "^[a-z0-9][a-z0-9_-]*$", "github-chat");
    DestinationNameText, "DestinationName", "The name of a destination.",
        |about| text(about, "^[a-z0-9][a-z0-9_-]*$", "ops");
    TargetText, "Target", "A handler or a destination.",
        |about| text(about, "^(handler|destination):[a-z0-9][a-z0-9_-]*$", "destination:ops");
    EventTypeText, "EventType", "The sender's name for what happened.",
        |about| text(about, "^[^\\u0000-\\u001f\\u007f-\\u009f]+$", "push");
    BusinessKeyText, "BusinessKey", "A business key with its value.",
        |about| text(about, "^[a-z][a-z0-9_-]{0,31}=.+$", "order=1234");
    CategoryWord, "Category", "The meaning of an event across providers.",
        |about| word(about, words!(Category));
    EventStatusWord, "EventStatus", "The status of an event.",
        |about| word(about, words!(EventStatus));
    DeliveryStateWord, "DeliveryState", "The state of a delivery.",
        |about| word(about, words!(DeliveryState));
    SourceStateWord, "SourceState", "The state of a source.", |about| {
        word(about, words!(SourceState))
    };
    ConnectionStateWord, "ConnectionState",
        "The state of the connection to the server of a source.",
        |about| word(about, words!(ConnectionState));
    FieldChangeWord, "FieldChange", "A change of a field of a source's events.", |about| {
        word(about, words!(FieldChange))
    };
    OutcomeWord, "Outcome", "The outcome of an attempt.", |about| word(about, words!(Outcome));
    JobKindWord, "JobKind", "The things that a job goes through.", |about| {
        word(about, words!(JobKind))
    };
    JobStateWord, "JobState", "The state of a job.", |about| word(about, words!(JobState));
    JobRateText, "JobRate", "A number per second, minute or hour.",
        |about| text(about, "^[0-9]{1,7}(/[smh])?$", "50/s");
}
