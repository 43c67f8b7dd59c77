//! The signature coverage of a provider: what is not covered can be changed in a captured request.

use std::sync::Arc;

use super::Provider;
use crate::identify::{FactTemplate, FanOut};
use crate::selector::Selector;
use crate::verify::{Algorithm, Scheme};
use crate::word_enum;

/// The parts of a request that one scheme signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    pub scheme: Arc<str>,
    pub body: BodyCoverage,
    /// True if the event's type is signed.
    pub kind: bool,
    /// True if the sender's id is signed.
    pub id: bool,
    /// True if a time is signed.
    pub time: bool,
}

word_enum! {
    /// The part of the body that a scheme signs.
    BodyCoverage {
        All = "all",
        Fields = "fields",
        /// A checksum, which other bodies can have too.
        Checksum = "checksum",
        /// Nothing: the request holds a secret, or the signature covers something else.
        Nothing = "nothing",
    }
}

impl Provider {
    /// The coverage of each scheme, in the file's order.
    #[must_use]
    pub fn coverage(&self) -> Vec<Coverage> {
        let of = |scheme: &Arc<Scheme>| Coverage {
            scheme: scheme.name.clone(),
            body: body_coverage(scheme),
            kind: covers_first(scheme, &self.identity.kinds, &self.identity.fan_out),
            id: covers_each(scheme, &self.identity.ids, &self.identity.fan_out),
            time: scheme.algorithm != Algorithm::StaticEquals && scheme.signs_time(),
        };
        self.schemes.iter().map(of).collect()
    }
}

fn body_coverage(scheme: &Scheme) -> BodyCoverage {
    if scheme.covers_body() {
        BodyCoverage::All
    } else if scheme.algorithm == Algorithm::StaticEquals {
        BodyCoverage::Nothing
    } else if scheme.signs_checksum() {
        BodyCoverage::Checksum
    } else if scheme.signs_parts_of().is_some_and(|_| scheme.jwt.is_none()) {
        BodyCoverage::Fields
    } else {
        BodyCoverage::Nothing
    }
}

/// The templates that can have a value in requests of this scheme: a body that is signed in parts
/// is JSON or a form. Events that are cut from a form field are JSON inside it.
fn readable<'p>(
    scheme: &Scheme,
    templates: &'p [FactTemplate],
    fan_out: &'p FanOut,
) -> impl Iterator<Item = &'p FactTemplate> {
    let of = scheme.signs_parts_of();
    templates.iter().filter(move |template| {
        let inside = |source: &&Selector| !fan_out.cuts_form_at(source);
        let mut kinds = template.selectors().filter(inside).filter_map(Selector::reads_body_as);
        of.is_none() || kinds.all(|kind| Some(kind) == of)
    })
}

fn covers_template(scheme: &Scheme, template: &FactTemplate) -> bool {
    scheme.algorithm != Algorithm::StaticEquals
        && template.selectors().all(|source| scheme.covers(source))
}

/// True if the first template is signed: its value cannot be removed from a captured request.
fn covers_first(scheme: &Scheme, templates: &[FactTemplate], fan_out: &FanOut) -> bool {
    readable(scheme, templates, fan_out)
        .next()
        .is_some_and(|template| covers_template(scheme, template))
}

/// True if every template that a captured request can have is signed, up to one that it must have.
fn covers_each(scheme: &Scheme, templates: &[FactTemplate], fan_out: &FanOut) -> bool {
    let must_be_there = |source: &Selector| scheme.message.fields().any(|field| field == source);
    let mut any = false;
    for template in readable(scheme, templates, fan_out) {
        if !covers_template(scheme, template) {
            return false;
        }
        any = true;
        let header = |source: &Selector| matches!(source, Selector::Header(_));
        if template.selectors().all(|source| header(source) && must_be_there(source)) {
            return true;
        }
    }
    any
}
