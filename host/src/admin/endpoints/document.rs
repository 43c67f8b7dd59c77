//! The OpenAPI document: what the routes say of themselves, with the roles, the codes of errors and
//! the ids of operations that follow from other tables.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::response::Response;
use bytes::Bytes;
use serde_json::json;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi, openapi};

use super::{NoQuery, json_response};
use crate::admin::codes::{self, ErrorCode};
use crate::admin::permissions::{Needs, needs};
use crate::api::{ApiProblem, Role};

/// The names of the ways to prove who asks.
const TOKEN: &str = "token";
const SESSION: &str = "session";

/// The parts of the document that belong to no route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir admin API",
        description = "Events, deliveries, holds and states of a hub. Every error is a problem \
                       document (RFC 9457) with a stable code."
    ),
    tags(
        (name = "access", description = "Tokens, sessions, and who asks"),
        (name = "events", description = "Events and what happened to them"),
        (name = "deliveries", description = "Dead letters, retries and replays"),
        (name = "jobs", description = "Replays by filter that the hub does by itself"),
        (name = "holds", description = "What keeps deliveries waiting"),
        (name = "quarantine", description = "Requests whose signature was not valid"),
        (name = "sources", description = "Sources, and secrets that senders hand over"),
        (name = "targets", description = "Handlers, destinations and inboxes"),
        (name = "audit", description = "Who did what"),
        (name = "store", description = "The store, its clock and its statistics"),
        (name = "health", description = "Health and metrics"),
    ),
    components(schemas(ApiProblem))
)]
struct BaseDocument;

/// The document of the API.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    tag = "access",
    responses((status = 200, body = serde_json::Value, description = "This document"))
)]
pub(super) async fn show(_: NoQuery) -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| super::document().to_json().unwrap_or_default().into());
    json_response(text.clone())
}

/// The document that routes are added to.
pub(super) fn base() -> openapi::OpenApi {
    let mut document = BaseDocument::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.license = None;
    let codes: Vec<String> = codes::NO_ROUTE.iter().map(|c| format!("`{}`", c.code)).collect();
    let about = document.info.description.unwrap_or_default();
    let elsewhere = codes.join(" and ");
    let about = format!("{about} What is no operation is answered with {elsewhere}.");
    document.info.description = Some(about);
    document
}

/// Completes the document of all routes.
pub(super) fn complete(mut document: openapi::OpenApi) -> openapi::OpenApi {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete_operation(method, path, operation);
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("weir_tok_…");
    let bearer = bearer.description(Some("A token of `weir tokens create`, or the operator's."));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer.build()));
    let about = "The cookie of a browser that signed in; its name ends with the port. Writes also \
                 need X-Weir-Form-Token.";
    let cookie = ApiKeyValue::with_description("weir_session_8081", about);
    components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    document
}

fn operations(item: &mut PathItem) -> Vec<(&'static str, &mut Operation)> {
    let PathItem { get, post, delete, .. } = item;
    let all = [("GET", get), ("POST", post), ("DELETE", delete)];
    all.into_iter().filter_map(|(name, operation)| Some((name, operation.as_mut()?))).collect()
}

fn complete_operation(method: &str, path: &str, operation: &mut Operation) {
    let needs = needs(&method.parse().unwrap_or_default(), Some(path));
    operation.operation_id = Some(operation_id(method, path));
    let of_role =
        |role: Role| [TOKEN, SESSION].map(|by| SecurityRequirement::new(by, [role.as_str()]));
    let open = SecurityRequirement::default();
    operation.security = Some(match needs {
        Needs::Nothing => vec![open],
        Needs::NothingHere => [vec![open], of_role(Role::Read).to_vec()].concat(),
        Needs::A(role) => of_role(role).to_vec(),
    });
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes::of(method, path, needs != Needs::Nothing) {
        by_status.entry(code.status).or_default().push(code);
    }
    for (status, codes) in by_status {
        let key = status.to_string();
        match operation.responses.responses.get_mut(&key) {
            // A report of health is an answer of this status too.
            Some(RefOr::T(stated)) => {
                stated.content.extend(problem(&codes).build().content);
            }
            _ => {
                let answer = problem(&codes).build();
                operation.responses.responses.insert(key, RefOr::T(answer));
            }
        }
    }
}

/// `GET /api/v1/events/{id}/why` is `get_events_id_why`.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/api").trim_start_matches("/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words = std::iter::once(method.to_ascii_lowercase()).chain(words.map(str::to_owned));
    words.collect::<Vec<_>>().join("_")
}

/// The answer with one of these codes.
fn problem(codes: &[ErrorCode]) -> ResponseBuilder {
    let examples = codes.iter().map(|ErrorCode { status, code, about }| {
        let title = http::StatusCode::from_u16(*status).ok().and_then(|s| s.canonical_reason());
        let value = json!({
            "title": title.unwrap_or("Refused"),
            "status": status,
            "code": code,
            "detail": about,
            "request_id": "adm_9f86d081884c7d659a2feaa0",
        });
        (*code, RefOr::T(ExampleBuilder::new().summary(*about).value(Some(value)).build()))
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ApiProblem")))
        .examples_from_iter(examples)
        .build();
    let names: Vec<String> = codes.iter().map(|code| format!("`{}`", code.code)).collect();
    ResponseBuilder::new()
        .description(names.join(", "))
        .content("application/problem+json", content)
}
