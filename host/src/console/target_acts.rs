//! Acts on handlers and destinations: pause, resume, try. Each leads back to the target's page.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post;
use maud::{Markup, html};
use serde::Deserialize;

use super::parts::{self, NoteKind};
use crate::admin::error::ApiError;
use crate::admin::extract::Service;
use crate::admin::principal::Principal;
use crate::admin::service::AdminService;
use crate::api::{PlaceHoldBody, RetryBody};

/// The targets whose pages are in one folder.
#[derive(Debug, Clone, Copy)]
pub(super) enum TargetFolder {
    Handlers,
    Destinations,
}

impl TargetFolder {
    const fn path(self) -> &'static str {
        match self {
            Self::Handlers => "/handlers",
            Self::Destinations => "/destinations",
        }
    }

    /// The scope of a hold on one of them.
    fn scope(self, name: &str) -> String {
        match self {
            Self::Handlers => format!("handler:{name}"),
            Self::Destinations => format!("destination:{name}"),
        }
    }

    fn retry(self, name: &str) -> RetryBody {
        let name = Some(name.to_owned());
        match self {
            Self::Handlers => RetryBody { handler: name, ..RetryBody::default() },
            Self::Destinations => RetryBody { destination: name, ..RetryBody::default() },
        }
    }

    /// The page of one of them, which says what was done.
    pub(super) fn page_after(self, name: &str, did: &str) -> Response {
        let path = format!("{}/{}", self.path(), parts::path_part(name));
        Redirect::to(&parts::address(&path, &[("did", did)])).into_response()
    }
}

/// The act that led to a page of a target.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TargetDone {
    did: Option<String>,
}

impl TargetDone {
    /// The result of the act in words.
    pub(super) fn note(&self) -> Markup {
        let said = match self.did.as_deref() {
            Some("paused") => "Paused. Deliveries wait and lose no attempts until you resume.",
            Some("resumed") => "Resumed. What waited goes out, oldest first.",
            Some("rolled-back") => "Rolled back. Its file is not loaded again until it changes.",
            Some("pinned") => "Pinned. A new file is loaded and does not run until you unpin.",
            Some("unpinned") => "Unpinned. A file that waited for that runs now.",
            Some("tried") => "What waited for a retry is due now. While it fails, one is tried.",
            _ => return html! {},
        };
        parts::note(NoteKind::Plain, &html! { (said) })
    }
}

/// The hold to release.
#[derive(Debug, Deserialize)]
struct ResumeForm {
    hold: String,
}

/// The acts on the targets of a folder.
pub(super) fn router(folder: TargetFolder) -> Router<Arc<AdminService>> {
    let path = |act: &str| format!("{}/{{name}}/{act}", folder.path());
    let pause = async move |service: Service, by: Principal, Path(name): Path<String>| {
        let reason = Some("paused in the console".to_owned());
        let body = PlaceHoldBody { scope: folder.scope(&name), reason, until: None };
        service.place_hold(body, by).await?;
        Ok::<_, ApiError>(folder.page_after(&name, "paused"))
    };
    let resume = async move |service: Service,
                             by: Principal,
                             Path(name): Path<String>,
                             Form(form): Form<ResumeForm>| {
        service.release_hold(&form.hold, by).await?;
        Ok::<_, ApiError>(folder.page_after(&name, "resumed"))
    };
    let try_now = async move |service: Service, by: Principal, Path(name): Path<String>| {
        service.retry(folder.retry(&name), by).await?;
        Ok::<_, ApiError>(folder.page_after(&name, "tried"))
    };
    Router::new()
        .route(&path("pause"), post(pause))
        .route(&path("resume"), post(resume))
        .route(&path("try"), post(try_now))
}
