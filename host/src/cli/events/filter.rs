//! The filters of commands that list events.

use weir_core::business_key::BusinessKey;
use weir_core::delivery::EventStatus;
use weir_core::event::{Category, EventType};
use weir_core::name::{DestinationName, HandlerName, SourceName};

use crate::api::{EventsQuery, LiveQuery};
use crate::cli::values;

/// Filters of events. Several values of one are alternatives.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FilterArgs {
    /// Filter by source; several are separated by commas
    #[arg(long, value_delimiter = ',')]
    pub source: Vec<SourceName>,
    /// Filter by type; `*` matches any characters, as in 'issues*'; repeat it for several
    #[arg(long = "type", value_name = "TYPE", value_parser = EventType::new)]
    pub kind: Vec<EventType>,
    /// Filter by category, such as payment.received; several are separated by commas
    #[arg(long, value_delimiter = ',', value_parser = values::category)]
    pub category: Vec<Category>,
    /// Filter by a handler that has a delivery of the event; several are separated by commas
    #[arg(long, value_delimiter = ',')]
    pub handler: Vec<HandlerName>,
    /// Filter by a destination that has a delivery or message of the event; several are separated
    /// by commas
    #[arg(long, value_delimiter = ',')]
    pub destination: Vec<DestinationName>,
    /// Filter by status: pending, processing, retrying, held, processed, dead_letter, unrouted;
    /// several are separated by commas
    #[arg(long, value_delimiter = ',', value_parser = values::status)]
    pub status: Vec<EventStatus>,
    /// Filter by a business key, such as order=1234; repeat it for several
    #[arg(long, value_name = "NAME=VALUE")]
    pub key: Vec<BusinessKey>,
}

impl FilterArgs {
    /// The query of a list.
    pub(in crate::cli) fn query(&self) -> EventsQuery {
        let Self { source, kind, category, handler, destination, status, key } = self.clone();
        EventsQuery {
            source: source.into(),
            kind: kind.into(),
            category: category.into(),
            status: status.into(),
            handler: handler.into(),
            destination: destination.into(),
            key: key.into(),
            ..EventsQuery::default()
        }
    }

    /// The query of a live list.
    pub(in crate::cli) fn live_query(&self) -> LiveQuery {
        let EventsQuery { source, kind, category, status, handler, destination, key, .. } =
            self.query();
        LiveQuery { source, kind, category, status, handler, destination, key }
    }
}
