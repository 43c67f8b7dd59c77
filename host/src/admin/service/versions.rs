//! Versions of handlers: what is known of them, and the acts of people on them.

use std::collections::BTreeSet;
use std::fmt::Display;

use similar::TextDiff;
use weir_core::error::chain;
use weir_core::name::HandlerName;
use weir_core::units::format_size;
use weir_engine::AllowedDestinations;

use super::{AdminService, Principal, ScopeError};
use crate::admin::error::ApiError;
use crate::api::params::reason;
use crate::api::{
    DiffQuery, HandlerDetailView, ListPage, PinView, RenameAnswer, RenameBody, VersionActBody,
    VersionChangeView, VersionDiffView, VersionEventView, VersionView,
};
use crate::invoker::{
    KeptVersion, Manifest, VersionActError, VersionComparison, VersionEvent, VersionReader,
    VersionRequest,
};

/// An act on the versions of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionActKind {
    RollBack,
    Pin,
    Unpin,
}

impl VersionActKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::RollBack => "handler_rollback",
            Self::Pin => "handler_pin",
            Self::Unpin => "handler_unpin",
        }
    }
}

impl AdminService {
    /// A handler with its versions.
    pub(crate) async fn handler(&self, name: &str) -> Result<HandlerDetailView, ApiError> {
        let name = self.handler_with_state(name)?;
        let manifest = match self.handlers.versions() {
            Some(reader) => reader.manifest(&name).await,
            None => Err(VersionActError::UnknownHandler(name.clone())),
        };
        self.detail(&name, manifest).await
    }

    /// The changes of a handler's versions, newest first.
    pub(crate) async fn handler_history(
        &self,
        name: &str,
    ) -> Result<ListPage<VersionEventView>, ApiError> {
        let (name, reader) = self.version_reader(name)?;
        let manifest = reader.manifest(&name).await?;
        Ok(ListPage::whole(manifest.history.into_iter().rev().map(event)))
    }

    /// The differences of two versions of a handler.
    pub(crate) async fn handler_diff(
        &self,
        name: &str,
        query: DiffQuery,
    ) -> Result<VersionDiffView, ApiError> {
        let (name, reader) = self.version_reader(name)?;
        let (from, to) = (query.from.as_deref(), query.to.as_deref());
        Ok(difference(&reader.compare(&name, from, to).await?))
    }

    /// Rolls a handler back, pins it or unpins it.
    pub(crate) async fn act_on_version(
        &self,
        act: VersionActKind,
        name: &str,
        body: VersionActBody,
        by: Principal,
    ) -> Result<HandlerDetailView, ApiError> {
        let result = self.do_act(act, name, &body, &by).await;
        self.recorded(&by, act.as_str(), name, result).await
    }

    async fn do_act(
        &self,
        act: VersionActKind,
        name: &str,
        body: &VersionActBody,
        by: &Principal,
    ) -> Result<HandlerDetailView, ApiError> {
        if let Some(text) = &body.reason {
            reason(text).map_err(|why| {
                ApiError::bad_request("invalid_reason", format!("`reason`: {why}"))
            })?;
        }
        let (name, _) = self.version_reader(name)?;
        let (handler, body, by) = (name.clone(), body.clone(), by.as_str().to_owned());
        let manifest = self.handlers.change_versions(move |reader| async move {
            let request = VersionRequest {
                handler: &handler,
                version: body.version.as_deref(),
                by: &by,
                reason: body.reason.as_deref(),
            };
            match act {
                VersionActKind::RollBack => reader.roll_back(request).await,
                VersionActKind::Pin => reader.pin(request).await,
                VersionActKind::Unpin => reader.unpin(request).await,
            }
        });
        let manifest = Ok(manifest.await?);
        self.detail(&name, manifest).await
    }

    /// Renames a handler, with its files, its state and its past.
    pub(crate) async fn rename_handler(
        &self,
        name: &str,
        body: RenameBody,
        by: Principal,
    ) -> Result<RenameAnswer, ApiError> {
        let result = self.do_rename(name, &body.to, &by).await;
        self.recorded(&by, "handler_rename", name, result).await
    }

    async fn do_rename(
        &self,
        name: &str,
        to: &str,
        by: &Principal,
    ) -> Result<RenameAnswer, ApiError> {
        let (from, _) = self.version_reader(name)?;
        let to = HandlerName::new(to)
            .map_err(|error| ApiError::bad_request("invalid_name", format!("`to`: {error}")))?;
        let (names, by) = ((from.clone(), to.clone()), by.as_str().to_owned());
        let renaming = self.handlers.change_versions(move |reader| async move {
            reader.rename(&names.0, &names.1, &by).await
        });
        renaming.await?;
        Ok(RenameAnswer { from, to })
    }

    /// A known handler, and what knows its versions.
    fn version_reader(&self, name: &str) -> Result<(HandlerName, &VersionReader), ApiError> {
        let unknown = |error: ScopeError| match error {
            ScopeError::Unknown(detail) => ApiError::not_found("handler_not_found", detail),
            malformed @ ScopeError::Malformed(_) => malformed.into(),
        };
        self.known_names().scope(&format!("handler:{name}")).map_err(unknown)?;
        let parsed = HandlerName::new(name).ok();
        parsed.zip(self.handlers.versions()).ok_or_else(|| {
            ApiError::not_found("handler_not_found", format!("there is no handler `{name}`"))
        })
    }

    async fn detail(
        &self,
        name: &HandlerName,
        manifest: Result<Manifest, VersionActError>,
    ) -> Result<HandlerDetailView, ApiError> {
        let handlers = self.handlers().await;
        let handler = handlers.into_iter().find(|view| view.name == *name).ok_or_else(|| {
            ApiError::not_found("handler_not_found", format!("there is no handler `{name}`"))
        })?;
        let state = self.state_size(name).await?;
        let manifest = match manifest {
            Ok(manifest) => manifest,
            // No version of it was ever good.
            Err(VersionActError::UnknownHandler(_)) => {
                let versions = Vec::new();
                return Ok(HandlerDetailView { handler, versions, pin: None, state });
            }
            Err(error) => return Err(error.into()),
        };
        let versions = manifest.versions.iter().map(|kept| version(&manifest, kept)).collect();
        let pin = manifest.pin.map(|pin| PinView { at: pin.at, by: pin.by, reason: pin.reason });
        Ok(HandlerDetailView { handler, versions, pin, state })
    }
}

impl From<VersionActError> for ApiError {
    fn from(error: VersionActError) -> Self {
        use VersionActError as E;
        let said = chain(&error);
        let conflict = |code| Self::conflict(code, said.clone());
        match error {
            E::UnknownHandler(_) => Self::not_found("handler_not_found", said),
            E::UnknownVersion { .. } => Self::not_found("version_not_found", said),
            E::Ambiguous { .. } => conflict("version_ambiguous"),
            E::NoPrevious(_) => conflict("no_previous_version"),
            E::Serves(_) => conflict("version_serves"),
            E::NeverServed(_) => conflict("version_never_served"),
            E::StateVersion { .. } => conflict("state_version_differs"),
            E::Refused { .. } | E::Full(_) => conflict("version_refused"),
            E::Changed(_) | E::Load(_) => conflict("version_changed"),
            E::Pinned(_) => conflict("already_pinned"),
            E::NotPinned(_) => conflict("not_pinned"),
            E::NotServing(_) => conflict("not_serving"),
            E::Taken(_) => conflict("name_taken"),
            E::Referred { .. } | E::Signed(_) => conflict("name_in_use"),
            E::Busy(_) => conflict("handler_busy"),
            E::Files(_) => conflict("files_not_renamed"),
            E::Unavailable => Self::transient("busy", said),
            E::Archive(error) => match error.into_store_error() {
                Some(error) => error.into(),
                None => Self::internal("store_failed", said),
            },
            E::Store(error) => error.into(),
        }
    }
}

fn version(manifest: &Manifest, kept: &KeptVersion) -> VersionView {
    let stands_in = manifest.probation.as_ref().is_some_and(|p| p.old == kept.version);
    let role = if kept.version == manifest.version {
        "serves"
    } else if stands_in {
        "stands_in"
    } else if manifest.candidate.as_deref() == Some(&*kept.version) {
        "candidate"
    } else {
        "kept"
    };
    VersionView {
        version: kept.version.clone(),
        role: role.to_owned(),
        kind: kept.kind.as_str().to_owned(),
        about: kept.about.clone(),
        subscriptions: kept.subscriptions.clone(),
        sidecar: kept.sidecar.clone(),
        size: kept.size,
        state_version: kept.state_version,
        contract: kept.contract.clone(),
        loaded_at: kept.loaded_at,
        served_at: kept.served_at,
    }
}

fn event(event: VersionEvent) -> VersionEventView {
    VersionEventView {
        at: event.at,
        act: event.act.as_str().to_owned(),
        version: event.version,
        before: event.before,
        by: event.by,
        reason: event.reason,
    }
}

/// The differences of two versions in the order in which people ask for them.
fn difference(compared: &VersionComparison) -> VersionDiffView {
    let VersionComparison { from: (old, before), to: (new, after) } = compared;
    let mut changes = Vec::new();
    let mut differs = |what: &str, before: String, after: String| {
        if before != after {
            changes.push(VersionChangeView { what: what.to_owned(), before, after });
        }
    };
    differs("kind", old.kind.as_str().into(), new.kind.as_str().into());
    differs("about", old.about.clone().unwrap_or_default(), new.about.clone().unwrap_or_default());
    differs("subscriptions", listed(&before.subscriptions), listed(&after.subscriptions));
    let destinations = |allowed: &AllowedDestinations| match allowed {
        AllowedDestinations::All => "all".to_owned(),
        AllowedDestinations::These(names) => listed(names),
    };
    differs(
        "destinations",
        destinations(&before.grants.destinations),
        destinations(&after.grants.destinations),
    );
    differs("emit", before.grants.emit.to_string(), after.grants.emit.to_string());
    let memory = |bytes: usize| format_size(bytes);
    differs("memory", memory(before.limits.memory), memory(after.limits.memory));
    let time = weir_core::units::format_duration;
    differs("time", time(before.limits.time), time(after.limits.time));
    let keys = |keys: &std::collections::BTreeMap<String, String>| {
        listed(keys.keys().collect::<BTreeSet<_>>())
    };
    differs("config keys", keys(&before.config), keys(&after.config));
    let contract = |kept: &KeptVersion| kept.contract.clone().unwrap_or_default();
    differs("contract", contract(old), contract(new));
    differs("state_version", old.state_version.to_string(), new.state_version.to_string());
    let bytes = |size: u64| format!("{size} bytes");
    differs("size", bytes(old.size), bytes(new.size));
    let texts = [old, new].map(|kept| kept.sidecar.as_deref().unwrap_or_default());
    let sidecar = match texts[0] == texts[1] {
        true => String::new(),
        false => TextDiff::from_lines(texts[0], texts[1])
            .unified_diff()
            .header("sidecar before", "sidecar after")
            .to_string(),
    };
    VersionDiffView { from: old.version.clone(), to: new.version.clone(), changes, sidecar }
}

fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
