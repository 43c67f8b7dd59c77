//! What a provider's signatures cover: of what is not covered, a captured request can be given another.

use std::sync::Arc;

use super::{Provider, Selector};
use crate::identify::{FactTemplate, FanOut};
use crate::verify::{Algorithm, Scheme};

/// What one scheme signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The scheme's name.
    pub scheme: Arc<str>,
    /// How much of the body.
    pub body: BodyCoverage,
    /// The event's type.
    pub kind: bool,
    /// The sender's id.
    pub id: bool,
    /// A time.
    pub time: bool,
}

/// How much of the body a scheme signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyCoverage {
    /// All of it.
    All,
    /// Certain fields.
    Fields,
    /// A checksum that other bodies have too.
    Checksum,
    /// Nothing: a secret stands in the request, or the signature is over something else.
    Nothing,
}

impl BodyCoverage {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Fields => "fields",
            Self::Checksum => "checksum",
            Self::Nothing => "nothing",
        }
    }
}

impl Provider {
    /// What each of its schemes signs, in their order.
    #[must_use]
    pub fn coverage(&self) -> Vec<Coverage> {
        let of = |scheme: &Arc<Scheme>| Coverage {
            scheme: Arc::clone(&scheme.name),
            body: scheme.body_coverage(),
            kind: scheme.covers_first(&self.identity.kinds, &self.identity.fan_out),
            id: scheme.covers_each(&self.identity.ids, &self.identity.fan_out),
            time: scheme.algorithm != Algorithm::StaticEquals && scheme.signs_time(),
        };
        self.schemes.iter().map(of).collect()
    }
}

impl Scheme {
    fn body_coverage(&self) -> BodyCoverage {
        if self.covers_body() {
            BodyCoverage::All
        } else if self.algorithm == Algorithm::StaticEquals {
            BodyCoverage::Nothing
        } else if self.signs_checksum() {
            BodyCoverage::Checksum
        } else if self.signs_parts_of().is_some_and(|_| self.jwt.is_none()) {
            BodyCoverage::Fields
        } else {
            BodyCoverage::Nothing
        }
    }

    /// The places of a fact that requests of this scheme can have: a body of which parts are signed is JSON or a form.
    /// Events that are cut from a form's field are JSON inside of it.
    fn readable<'p>(
        &self,
        places: &'p [FactTemplate],
        fan_out: &'p FanOut,
    ) -> impl Iterator<Item = &'p FactTemplate> {
        let of = self.signs_parts_of();
        places.iter().filter(move |place| {
            let inside = |source: &&Selector| !fan_out.cuts_form_at(source);
            let mut kinds = place.sources().filter(inside).filter_map(Selector::reads_body_as);
            of.is_none() || kinds.all(|kind| Some(kind) == of)
        })
    }

    fn covers_place(&self, place: &FactTemplate) -> bool {
        self.algorithm != Algorithm::StaticEquals
            && place.sources().all(|source| self.covers(source))
    }

    /// True if the first place is signed: what stands there cannot be taken away from a captured request.
    fn covers_first(&self, places: &[FactTemplate], fan_out: &FanOut) -> bool {
        self.readable(places, fan_out).next().is_some_and(|place| self.covers_place(place))
    }

    /// True if every place is signed that a captured request may have, up to one that it must have.
    fn covers_each(&self, places: &[FactTemplate], fan_out: &FanOut) -> bool {
        let must_be_there = |source: &Selector| self.message.fields().any(|field| field == source);
        let mut any = false;
        for place in self.readable(places, fan_out) {
            if !self.covers_place(place) {
                return false;
            }
            any = true;
            let header = |source: &Selector| matches!(source, Selector::Header(_));
            if place.sources().all(|source| header(source) && must_be_there(source)) {
                return true;
            }
        }
        any
    }
}
