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
//! What may not live here: SQL, decisions about events, inline scripts or styles, and `PreEscaped`
//! outside of `foreign`, `body` and `chart`.

mod amounts;
mod assets;
mod events;
mod foreign;
mod frame;
mod icons;
mod parts;
mod preferences;
mod problem;
mod reader;
mod times;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

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
        .route("/events", get(events::list))
}
