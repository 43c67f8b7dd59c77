//! The console: pages for people, made on the server from the same DTOs and service as the API.
//!
//! A page is one function. It takes the [`Frame`](frame::Frame) (the reader, and the shell around
//! each page) and the service, asks the service as an endpoint of the API does, and answers
//! `frame.page(title, place, &main)`, where `main` is written with `maud`. An [`ApiError`] that it
//! returns becomes a page too. To add a page: write its function in a file or folder here, and add
//! its path to `router` below; its place in the navigation is in `frame::Place`.
//!
//! - `parts`: heads, panels, facts, chips, empty states, notes, links to other pages of a list,
//!   and `act`, the form of every act: disabled for a reader whose role may not do it.
//! - `words`: the one list of states with their words, shapes and colours.
//! - `foreign`: all text that strangers wrote. `(Foreign(text))`, never `(text)`.
//! - `times` and `amounts`: times in the reader's zone, durations, sizes, numbers.
//! - `assets`: the style and the scripts. A page works without script, except for what is live.
//!
//! Not here: SQL, decisions about events, inline scripts or styles, and `PreEscaped`
//! outside of `foreign`, `body` and `chart`.

mod amounts;
mod assets;
mod audit;
mod body;
mod chart;
mod dead_letters;
mod destinations;
mod event;
mod events;
mod find;
mod flash;
mod foreign;
mod frame;
mod handler_state;
mod handler_versions;
mod handlers;
mod icons;
mod inbox;
mod jobs;
mod login;
mod overview;
mod parts;
mod preferences;
mod problem;
mod quarantine;
mod reader;
mod routes;
mod settings;
mod sources;
mod subject;
mod target_acts;
mod targets;
mod times;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use self::target_acts::TargetFolder;
use crate::admin::ConsoleRoutes;
use crate::admin::service::AdminService;

/// The pages, for the admin listener.
pub(crate) const fn routes() -> ConsoleRoutes {
    ConsoleRoutes { router, problem: problem::page }
}

fn router() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/-/{file}", get(assets::file))
        .route("/-/theme", post(preferences::theme))
        .route("/-/zone", post(preferences::zone))
        .route("/-/keys", post(preferences::keys))
        .route("/more", get(async |frame: frame::Frame| frame.more()))
        .route("/", get(overview::show))
        .route("/start", get(overview::guide))
        .route("/resume", post(overview::resume))
        .route("/login", get(login::page))
        .route("/find", get(find::find))
        .route("/events", get(events::list))
        .route("/events/replay", get(events::replay_preview).post(events::act))
        .route("/events/replay-all", get(events::replay_all_preview).post(events::act_on_all))
        .route("/events/{id}", get(event::show))
        .route("/requests/{id}", get(event::show))
        .route("/deliveries/{id}", get(event::show))
        .route("/messages/{id}", get(event::show))
        .route("/events/{id}/retry", post(event::acts::retry))
        .route("/events/{id}/try", post(event::acts::try_target))
        .route("/events/{id}/requeue", post(event::acts::requeue))
        .route("/events/{id}/release", post(event::acts::release))
        .route("/events/{id}/hold", post(event::acts::hold))
        .route("/events/{id}/cancel", post(event::acts::cancel))
        .merge(dead_letters::router())
        .merge(jobs::router())
        .merge(sources::router())
        .merge(targets())
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/release", post(quarantine::release_all))
        .route("/quarantine/{id}", get(quarantine::show))
        .route("/quarantine/{id}/release", post(quarantine::release))
        .route("/inbox", get(inbox::list))
        .route("/inbox/{number}", get(inbox::show))
        .route("/settings", get(settings::show))
        .route("/audit", get(audit::show))
}

/// The pages of what events go through.
fn targets() -> Router<Arc<AdminService>> {
    Router::new()
        .route("/handlers", get(handlers::list))
        .route("/handlers/{name}", get(handlers::show))
        .route("/destinations", get(destinations::list))
        .route("/destinations/{name}", get(destinations::show))
        .route("/routes", get(routes::show))
        .merge(handler_state::router())
        .merge(handler_versions::router())
        .merge(target_acts::router(TargetFolder::Handlers))
        .merge(target_acts::router(TargetFolder::Destinations))
}
