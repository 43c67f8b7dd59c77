//! Facts of a message as parameters of a statement. They are sent as text, which the server reads
//! as the type of the parameter, so that a column may have any type that has a text form.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use weir_core::hops::HopKey;

use crate::config::MessageFact;
use crate::egress::facts;
use crate::egress::outgoing::Outgoing;

/// A fact with its value; none for a fact that the message does not have.
#[derive(Debug)]
pub(super) struct BoundFact(Option<Vec<u8>>);

impl BoundFact {
    pub(super) fn of(fact: MessageFact, out: &Outgoing, hops: &HopKey) -> Self {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        Self(match fact {
            MessageFact::Id => text(&out.id.to_string()),
            MessageFact::EventId => text(&out.event.to_string()),
            MessageFact::Source => text(out.source.as_str()),
            MessageFact::Type => text(out.event_type.as_str()),
            MessageFact::Handler => out.handler.as_ref().and_then(|name| text(name.as_str())),
            MessageFact::ContentType => text(&out.content_type),
            MessageFact::Headers => Some(facts::json(out, hops)),
            MessageFact::Body => Some(out.body.to_vec()),
        })
    }
}

impl ToSql for BoundFact {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(value) = &self.0 else { return Ok(IsNull::Yes) };
        out.put_slice(value);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, kind: &Type) -> Format {
        // The binary form of bytes is the bytes.
        if *kind == Type::BYTEA { Format::Binary } else { Format::Text }
    }

    to_sql_checked!();
}
