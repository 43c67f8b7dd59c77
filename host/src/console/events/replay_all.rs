//! `/events/replay-all`: replaying all that a filter of the list matches, in two steps. The first
//! page counts and changes nothing. Its form carries the filter with fixed times and what was
//! counted; if something else matches by then, it is counted again instead of acted on.
//!
//! Unrouted events are routed by the rules of now; dead letters are sent again as they were stored.
//! What is too much for one press of the button becomes a job of the hub.

use std::time::Duration;

use axum::extract::{Form, RawQuery};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use sha2::{Digest as _, Sha256};
use weir_core::delivery::EventStatus;
use weir_core::event::EventType;
use weir_core::job::{InvalidJobRate, JobKind, JobRate};
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;

use super::filters::EventFilters;
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::params::PointInTime;
use crate::api::{
    CountJobBody, CreateJobBody, DeadLetterFilter, JobFilterBody, ReplayBody, UnroutedFilter,
};
use crate::console::amounts::{counted, number};
use crate::console::flash::Flash;
use crate::console::foreign::Foreign;
use crate::console::frame::{Frame, Place};
use crate::console::jobs;
use crate::console::parts::{self, NeededRole, NoteKind, address};

/// Most events or dead letters that one press of the button replays at once. More are a job.
const AT_ONCE_MAX: usize = 1_000;
/// Longest time between counting and acting.
const SET_LIFE: Duration = Duration::from_secs(600);

/// A filter of the list, as a replay understands it: at most one value of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct WholeFilter {
    /// True for dead letters, false for what is unrouted.
    is_dead: bool,
    source: Option<String>,
    kind: Option<String>,
    target: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// The numbers of a dry run, or of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    looked_at: usize,
    routed: usize,
    deliveries: usize,
    /// True if there is more than is replayed at once.
    more: bool,
}

impl WholeFilter {
    /// The filter of a list, if all that it matches can be replayed together.
    fn of(filters: &EventFilters, now: Timestamp) -> Option<Self> {
        let query = &filters.query;
        let is_dead = match query.status.values() {
            [EventStatus::DeadLetter] => true,
            [EventStatus::Unrouted] => false,
            _ => return None,
        };
        let handler = query.handler.values().iter().map(|name| format!("handler:{name}"));
        let destination =
            query.destination.values().iter().map(|name| format!("destination:{name}"));
        let targets: Vec<_> = handler.chain(destination).collect();
        let (sources, kinds) = (query.source.values(), query.kind.values());
        let fits = sources.len() <= 1
            && kinds.len() <= 1
            && targets.len() <= usize::from(is_dead)
            && query.category.is_empty()
            && query.key.is_empty()
            && query.text.is_none()
            && filters.wrong.is_empty();
        fits.then(|| Self {
            is_dead,
            source: sources.first().map(ToString::to_string),
            kind: kinds.first().map(ToString::to_string),
            target: targets.into_iter().next(),
            since: query.since.map(|moment| moment.resolve(now)),
            until: query.until.map(|moment| moment.resolve(now)),
        })
    }

    /// The same up to now, so that what comes later is not meant.
    fn until_now(self, now: Timestamp) -> Self {
        Self { until: Some(self.until.map_or(now, |until| until.min(now))), ..self }
    }

    /// One page of the replay.
    fn body(&self, cursor: Option<String>) -> ReplayBody {
        let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        let (source, kind) = (self.source.clone(), self.kind.clone());
        let (since, until) = (text(self.since), text(self.until));
        let mut body = ReplayBody::default();
        if self.is_dead {
            let target = self.target.clone();
            let filter =
                DeadLetterFilter { target, source, kind, since, until, limit: None, cursor };
            body.dead_letters = Some(filter);
        } else {
            let filter = UnroutedFilter { source, kind, since, until, limit: None, cursor };
            body.unrouted = Some(filter);
        }
        body
    }

    /// Goes through all pages, up to the limit. `options` completes the body of each.
    async fn go_through(
        &self,
        service: &AdminService,
        by: &Principal,
        options: impl Fn(ReplayBody) -> ReplayBody,
    ) -> Result<Totals, ApiError> {
        let (mut totals, mut cursor) = (Totals::default(), None);
        loop {
            let answer = service.replay(options(self.body(cursor)), by.clone()).await?;
            totals.looked_at += answer.events;
            totals.routed += answer.routed;
            totals.deliveries += answer.deliveries;
            cursor = answer.next;
            if cursor.is_none() {
                return Ok(totals);
            }
            if totals.looked_at >= AT_ONCE_MAX {
                return Ok(Totals { more: true, ..totals });
            }
        }
    }

    /// The same as a job.
    fn job(&self, name: String, new_ids: bool, rate: Option<JobRate>) -> CreateJobBody {
        let what = if self.is_dead { JobKind::DeadLetters } else { JobKind::Unrouted };
        let target: Vec<Target> = self.target.iter().filter_map(|text| text.parse().ok()).collect();
        let source: Vec<SourceName> =
            self.source.iter().filter_map(|text| text.parse().ok()).collect();
        let kind: Vec<EventType> =
            self.kind.iter().filter_map(|text| EventType::new(text).ok()).collect();
        let filter = JobFilterBody {
            source: source.into(),
            kind: kind.into(),
            target: target.into(),
            since: self.since.map(PointInTime::At),
            until: self.until.map(PointInTime::At),
            ..JobFilterBody::default()
        };
        CreateJobBody { name, what, filter, to: None, new_ids, rate }
    }

    /// The number of all that it matches, up to a million.
    async fn total(&self, service: &AdminService) -> Result<u64, ApiError> {
        let CreateJobBody { what, filter, to, .. } = self.job(String::new(), false, None);
        Ok(service.count_job(CountJobBody { what, filter, to }).await?.count)
    }

    async fn count(&self, service: &AdminService, by: &Principal) -> Result<Totals, ApiError> {
        self.go_through(service, by, |body| ReplayBody { dry_run: true, ..body }).await
    }

    /// The parameters of the list that mean this filter.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let status = if self.is_dead { "dead_letter" } else { "unrouted" };
        let mut fields = vec![("status", status.to_owned())];
        fields.extend(self.source.clone().map(|source| ("source", source)));
        fields.extend(self.kind.as_ref().map(|kind| ("type", crate::api::one_of::join([kind]))));
        if let Some((kind, name)) = self.target.as_deref().and_then(|text| text.split_once(':')) {
            let field = if kind == "handler" { "handler" } else { "destination" };
            fields.push((field, name.to_owned()));
        }
        fields.extend(self.since.map(|since| ("since", since.to_string())));
        fields.extend(self.until.map(|until| ("until", until.to_string())));
        fields
    }

    /// The command that does the same.
    fn command(&self) -> String {
        let what = if self.is_dead { "--dead-letters" } else { "--unrouted" };
        let mut command = format!("weir replay {what}");
        let mut add = |flag: &str, value: Option<String>| {
            if let Some(value) = value {
                command.push_str(&format!(" {flag} '{}'", value.replace('\'', r"'\''")));
            }
        };
        add("--target", self.target.clone());
        add("--source", self.source.clone());
        add("--type", self.kind.clone());
        add("--since", self.since.map(|since| since.to_string()));
        add("--until", self.until.map(|until| until.to_string()));
        command
    }

    /// Names the filter with what was counted, so that a change is noticed.
    fn fingerprint(&self, totals: Totals) -> String {
        let mut hash = Sha256::new();
        for (name, value) in self.fields() {
            hash.update(format!("{name}={value}\n"));
        }
        hash.update(format!("{} {} {}", totals.looked_at, totals.routed, totals.deliveries));
        hex::encode(&hash.finalize()[..12])
    }
}

/// The address that begins a replay of all that the list shows; none if only rows can be replayed.
pub(super) fn address_for(filters: &EventFilters, now: Timestamp) -> Option<String> {
    WholeFilter::of(filters, now)?;
    Some(address("/events/replay-all", &filters.pairs().collect::<Vec<_>>()))
}

fn not_a_whole() -> ApiError {
    let detail = "filter by the status `unrouted` or `dead_letter`, with at most one source, one \
                  type and, for dead letters, one target";
    ApiError::bad_request("invalid_parameter", detail)
}

/// Counts, and shows what a replay would do.
pub(crate) async fn preview(
    service: Service,
    frame: Frame,
    by: Principal,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let (query, has_changed) = match query.strip_suffix("&changed=1") {
        Some(query) => (query, true),
        None => (&*query, false),
    };
    let now = service.clock.now();
    let filter = WholeFilter::of(&EventFilters::read(query), now).ok_or_else(not_a_whole)?;
    let filter = filter.until_now(now);
    let totals = filter.count(&service, &by).await?;
    let total = match totals.more {
        true => filter.total(&service).await?,
        false => totals.looked_at as u64,
    };
    let main = page(&frame, &filter, (totals, total), has_changed);
    Ok(frame.page("Replay all", Place::Events, &main))
}

/// Acts on what was counted.
pub(crate) async fn act(
    service: Service,
    by: Principal,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    const OWN: [&str; 6] = ["form_token", "back", "counted_at", "set", "new_ids", "rate"];
    let field = |name: &str| fields.iter().find(|(one, _)| one == name).map(|(_, value)| &**value);
    let of_list = fields.iter().filter(|(name, _)| !OWN.contains(&&**name));
    let query: Vec<_> = of_list.map(|(name, value)| (&**name, &**value)).collect();
    let list = address("", &query);
    let now = service.clock.now();
    let filters = EventFilters::read(list.trim_start_matches('?'));
    let filter = WholeFilter::of(&filters, now).ok_or_else(not_a_whole)?;
    let counted_at = field("counted_at").and_then(|text| text.parse().ok()).unwrap_or(0);
    let age = now.since(Timestamp::from_millis(counted_at));
    let totals = filter.count(&service, &by).await?;
    let fingerprint = filter.fingerprint(totals);
    if field("set") != Some(&fingerprint) || age > SET_LIFE {
        let to = format!("{}&changed=1", address("/events/replay-all", &query));
        return Ok(Redirect::to(&to).into_response());
    }
    // Pressing the button twice replays once: the set names the request.
    let request = format!("{fingerprint}-{counted_at}");
    let new_ids = field("new_ids").is_some();
    if totals.more {
        let rate = field("rate").filter(|text| !text.is_empty()).map(str::parse).transpose();
        let rate = rate.map_err(|why: InvalidJobRate| {
            ApiError::bad_request("invalid_parameter", format!("rate: {why}"))
        })?;
        let (job, _) = service.create_job(filter.job(request, new_ids, rate), by).await?;
        let to = address(&jobs::path(&job.name), &[("did", "create")]);
        return Ok(Redirect::to(&to).into_response());
    }
    let options = |body| ReplayBody { request: Some(request.clone()), new_ids, ..body };
    let done = filter.go_through(&service, &by, options).await?;
    Ok(Redirect::to(&Flash::Replayed.address("/events", done.deliveries as u64)).into_response())
}

fn page(
    frame: &Frame,
    filter: &WholeFilter,
    (totals, total): (Totals, u64),
    has_changed: bool,
) -> Markup {
    let what = if filter.is_dead { "dead letter" } else { "unrouted event" };
    let how = match filter.is_dead {
        true => "Each is sent to its target again, as it was stored.",
        false => "Each is routed again, by the rules of now.",
    };
    html! {
        (parts::head(
            &html! { "Replay " (counted(total, what)) },
            &html! { "Nothing was changed yet. " (how) },
            &html! {},
        ))
        div.stackv {
            @if has_changed {
                (parts::note(NoteKind::Warning, &html! {
                    b { "Not replayed: what would happen has changed." }
                    " These are the counts of now. Nothing was changed."
                }))
            }
            @if total == 0 {
                section.p { (parts::empty("Nothing matches this filter.", &html! {
                    a href="/events" { "All events" } })) }
            } @else {
                div.cols.r {
                    (parts::panel("What the filter means", &html! {}, &facts(frame, filter)))
                    (what_would_happen(frame, filter, totals, total))
                }
            }
        }
    }
}

fn facts(frame: &Frame, filter: &WholeFilter) -> Markup {
    let times = &frame.reader.times;
    let fields = filter.fields();
    let list: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let mut rows = vec![(
        "Events",
        html! { a href=(address("/events", &list)) {
        @if filter.is_dead { "with a dead letter" } @else { "that matched no rule" } } },
    )];
    for (name, value) in
        [("Source", &filter.source), ("Type", &filter.kind), ("Target", &filter.target)]
    {
        rows.extend(value.as_ref().map(|value| (name, html! { (Foreign(value)) })));
    }
    rows.extend(filter.since.map(|since| ("Received since", times.exact(since))));
    rows.extend(filter.until.map(|until| ("Received before", times.exact(until))));
    parts::facts(rows)
}

fn what_would_happen(frame: &Frame, filter: &WholeFilter, totals: Totals, total: u64) -> Markup {
    let reader = &frame.reader;
    let Totals { looked_at, routed, deliveries, more } = totals;
    let mut fields = filter.fields();
    fields.push(("counted_at", reader.times.now.as_millis().to_string()));
    fields.push(("set", filter.fingerprint(totals)));
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    html! {
        form.p.bulk method="post" action="/events/replay-all" {
            header { h2 { "What would happen" } }
            (parts::form_fields(reader, &fields))
            ul.sum {
                li {
                    b.n { (number(deliveries as u64)) }
                    @if more { span { "due again of the newest " (number(looked_at as u64)) } }
                    @else { span { "due at once, of all targets" } }
                }
                @if routed < looked_at {
                    li { b.n { (number((looked_at - routed) as u64)) }
                        span { "skipped: still no rule wants them" } }
                }
            }
            @if more {
                p.note { "These run as a job of the hub, which you can watch, pause and cancel." }
                div.opt {
                    label {
                        span { "At most" br; small { "a second, minute or hour; empty for no limit" } }
                        input.in name="rate" placeholder="50/s" autocomplete="off";
                    }
                }
            }
            div.opt {
                label {
                    input type="checkbox" name="new_ids" value="1";
                    span { "Send with new ids" br; small {
                        "so that receivers do not skip it as a duplicate" } }
                }
            }
            div.pad { (parts::code("The same command", &filter.command())) }
            div.go {
                @let label = match more {
                    true => format!("Replay {} as a job", number(total)),
                    false => format!("Replay {}", number(routed as u64)),
                };
                (parts::submit(reader, NeededRole::Operate, &label, deliveries > 0 || more))
                a.btn.q href="/events" { "Not now" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn of(query: &str) -> Option<WholeFilter> {
        WholeFilter::of(&EventFilters::read(query), NOW)
    }

    #[test]
    fn only_what_the_replay_understands_is_replayed_as_a_whole() {
        assert!(of("status=unrouted&source=github&last=1h").is_some());
        assert!(of("status=dead_letter&destination=ops&type=pu*").is_some());
        for not in [
            "",
            "source=github",
            "status=unrouted,dead_letter",
            "status=unrouted&destination=ops",
            "status=dead_letter&destination=ops&handler=orders",
            "status=dead_letter&source=a,b",
            "status=dead_letter&category=payment.received",
            "status=dead_letter&sorce=x",
        ] {
            assert!(of(not).is_none(), "{not}");
        }
    }

    #[test]
    fn a_filter_is_the_same_after_a_form() {
        let filter = of("status=dead_letter&handler=orders&type=a%5C%2Cb&last=1h").unwrap();
        let filter = filter.until_now(NOW);
        let fields = filter.fields();
        let query: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let later = NOW.after(Duration::from_secs(60));
        let again = address("", &query);
        let again = WholeFilter::of(&EventFilters::read(again.trim_start_matches('?')), later);
        assert_eq!(again, Some(filter.clone()));
        let command = filter.command();
        assert!(
            command
                .starts_with("weir replay --dead-letters --target 'handler:orders' --type 'a,b'")
        );
        let more = Totals { deliveries: 1, ..Totals::default() };
        assert_ne!(filter.fingerprint(Totals::default()), filter.fingerprint(more));
    }
}
