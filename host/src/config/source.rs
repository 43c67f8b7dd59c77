//! `[sources.NAME]`: a source is a provider with overrides, and secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use strsim::levenshtein;
use weir_core::bounds::BODY_BYTES_MAX;
use weir_core::business_key::KeyIndex;
use weir_core::handshake::parse_host_list;
use weir_core::name::SourceName;
use weir_core::provider::{Catalog, OneOrMore, Provider, ProviderError, ProviderOverrides};
use weir_core::verify::{
    NamedSecret, Params, Scheme, Secret, SecretError, Verifier, likely_key_form,
};

use super::access::{self, AccessPolicy};
use super::context::LoadContext;
use super::key_index;
use super::pull::{self, PullContext, PullSettings, SourceKind};
use super::responder::{self, Responder, ResponderSettings};
use super::schema::{self, CHECKED_BYTES_MAX, Schemas};
use super::secret;
use super::secret_strength;
use super::server::ServerSettings;
use super::tree::Section;
use super::url::public_base;
use weir_core::units::format_size;

/// The provider of a source whose messages the hub takes, unless it is set: no sender signs them.
const PULLED_PROVIDER: &str = "custom";

#[derive(Debug)]
pub struct Source {
    pub name: SourceName,
    /// The provider with the source's overrides.
    pub provider: Arc<Provider>,
    /// The way in which the hub takes its messages; none if senders post requests.
    pub pull: Option<PullSettings>,
    /// The access policy before verification.
    pub access: AccessPolicy,
    /// The JSON Schemas of its events.
    pub schemas: Schemas,
    /// The verifier with its secrets.
    pub verifier: Verifier,
    /// The provider's parameters besides secrets, by name.
    pub params: Params,
    /// The secrets as configured, current first.
    pub secrets: Vec<NamedSecret>,
    /// The secret that signs samples: the current one, or in development mode its private half.
    /// None if the sender publishes keys or hands a secret over.
    pub signing: Option<Secret>,
    /// Largest body, in bytes.
    pub body_limit: usize,
    /// The URL that senders use, if known. Schemes that sign the URL sign this one.
    pub public_url: Option<String>,
    /// The handler that answers the sender, if any.
    pub responder: Option<Responder>,
    /// The time without accepted requests after which there is an alert.
    pub max_silence: Option<Duration>,
    /// The business keys of its events.
    pub index: KeyIndex,
    /// The time for which its finished events are kept, if not that of `[retention]`.
    pub payload_life: Option<Duration>,
    /// The share of failed attempts at its events from which it is failing, in thousandths.
    pub max_failures: u16,
}

/// The context in which sources are checked.
pub(super) struct SourceContext<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) server: Option<&'a ServerSettings>,
    pub(super) responders: Option<&'a ResponderSettings>,
    pub(super) pull: PullContext<'a>,
}

impl Source {
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        self.pull.as_ref().map_or(SourceKind::Http, PullSettings::kind)
    }
}

/// Reads every `[sources.NAME]`.
pub(super) fn read(
    sections: Vec<(&str, Section<'_>)>,
    known: &SourceContext<'_>,
    context: &LoadContext<'_>,
) -> BTreeMap<SourceName, Arc<Source>> {
    let mut sources = BTreeMap::new();
    for (name, section) in sections {
        match SourceName::configured(name) {
            Err(error) => section.problem("", error),
            Ok(name) => {
                if let Some(source) = one(name.clone(), section, known, context) {
                    sources.insert(name, Arc::new(source));
                }
            }
        }
    }
    sources
}

fn one(
    name: SourceName,
    mut section: Section<'_>,
    known: &SourceContext<'_>,
    context: &LoadContext<'_>,
) -> Option<Source> {
    let kind = pull::kind(&mut section);
    if kind != SourceKind::Http {
        return pulled(kind, name, section, known, context);
    }
    pull::refuse_settings_of_servers(&mut section);
    let base = base_provider(&mut section, known.catalog);
    let secrets = secret::list_or_empty(&mut section, "secrets", context);
    let params = params(&mut section, base.map(Arc::as_ref), context);
    let access = access::read(&mut section, known.server, context);
    let schemas = schema::read(&mut section, &name, context);
    let overrides = section.foreign::<ProviderOverrides>(ProviderOverrides::KEYS);
    let body_limit_max = body_limit_max(&section, overrides.as_ref(), &schemas);
    let own_url = own_public_url(&section, overrides.as_ref());
    let provider = base.zip(overrides.as_ref()).and_then(|(base, overrides)| {
        let changed = base.with_overrides(overrides);
        changed.map_err(|error| refused(&section, &error)).ok()
    });
    let secrets = required_secrets(&section, provider.as_ref().or(base.map(Arc::as_ref)), secrets);
    let verifier = verifier(&section, provider.as_ref(), secrets.as_deref(), params.as_ref());
    let listen_url = known.server.and_then(|server| server.public_url.as_ref());
    let public_url = own_url.or_else(|| Some(format!("{}/webhook/{name}", listen_url?)));
    require_public_url(&section, provider.as_ref(), verifier.as_ref(), public_url.as_deref());
    let responder = responder::of_source(&mut section, known.responders);
    let max_silence = section.maybe("max_silence");
    let index = key_index::read(&mut section);
    let payload_life = section.maybe("payload_life");
    let max_failures = max_failures(&mut section);
    section.finish();
    let (provider, server, secrets, params) = (provider?, known.server?, secrets?, params?);
    Some(Source {
        name,
        body_limit: provider.body_limit.unwrap_or(server.body_limit).min(body_limit_max),
        provider: Arc::new(provider),
        pull: None,
        access,
        schemas,
        verifier: verifier?,
        params,
        signing: secrets.first().map(|secret| secret.value.clone()),
        secrets,
        public_url,
        responder,
        max_silence,
        index,
        payload_life,
        max_failures,
    })
}

/// A source whose messages the hub takes from a server.
fn pulled(
    kind: SourceKind,
    name: SourceName,
    mut section: Section<'_>,
    known: &SourceContext<'_>,
    context: &LoadContext<'_>,
) -> Option<Source> {
    pull::refuse_settings_of_requests(&mut section, kind);
    let base = match section.has("provider") {
        true => base_provider(&mut section, known.catalog),
        false => {
            section.mark_read("provider");
            known.catalog.get(PULLED_PROVIDER)
        }
    };
    let pull = pull::read(kind, &mut section, known.pull, context);
    let schemas = schema::read(&mut section, &name, context);
    // The others are noted already.
    let keys = ProviderOverrides::KEYS.iter().filter(|key| !pull::OF_REQUESTS.contains(key));
    let keys: Vec<_> = keys.copied().collect();
    let overrides = section.foreign::<ProviderOverrides>(&keys).map(with_unsigned_ids);
    let body_limit_max = body_limit_max(&section, overrides.as_ref(), &schemas);
    let provider = base.zip(overrides.as_ref()).and_then(|(base, overrides)| {
        let changed = base.with_overrides(overrides);
        changed.map_err(|error| refused(&section, &error)).ok()
    });
    let max_silence = section.maybe("max_silence");
    let index = key_index::read(&mut section);
    let payload_life = section.maybe("payload_life");
    let max_failures = max_failures(&mut section);
    section.finish();
    let (provider, server) = (provider?, known.server?);
    Some(Source {
        name,
        body_limit: provider.body_limit.unwrap_or(server.body_limit).min(body_limit_max),
        provider: Arc::new(provider),
        pull: Some(pull?),
        access: AccessPolicy::default(),
        schemas,
        verifier: Verifier::refusing(),
        params: Params::new(),
        signing: None,
        secrets: Vec::new(),
        public_url: None,
        responder: None,
        max_silence,
        index,
        payload_life,
        max_failures,
    })
}

/// Lets the source's own ids say which messages are the same. They need not be signed, because
/// nothing of a message is.
fn with_unsigned_ids(overrides: ProviderOverrides) -> ProviderOverrides {
    let by_id = overrides.dedup.as_ref().is_none_or(|dedup| dedup.0 == ["id"]);
    let ids = overrides.id.as_ref().filter(|_| by_id).map(|ids| ids.0.join(" | "));
    match ids {
        Some(ids) => ProviderOverrides { dedup: Some(OneOrMore(vec![ids])), ..overrides },
        None => overrides,
    }
}

/// The share of failed attempts from which a source is failing, in thousandths.
fn max_failures(section: &mut Section<'_>) -> u16 {
    const DEFAULT: u16 = 100;
    let Some(share) = section.maybe::<f64>("max_failure_rate") else { return DEFAULT };
    let thousandths = (1..=1_000_u16).find(|n| f64::from(*n) / 1_000.0 >= share);
    match thousandths.filter(|_| share >= 0.001) {
        Some(thousandths) => thousandths,
        None => {
            let what = format!("must be between 0.001 and 1, not {share}");
            section.problem("max_failure_rate", what);
            DEFAULT
        }
    }
}

fn base_provider<'c>(section: &mut Section<'_>, catalog: &'c Catalog) -> Option<&'c Arc<Provider>> {
    let word = section.must::<String>("provider")?;
    let found = catalog.get(&word);
    if found.is_none() {
        section.problem("provider", unknown_provider(&word, catalog));
    }
    found
}

/// The largest body limit that the source may have.
fn body_limit_max(
    section: &Section<'_>,
    overrides: Option<&ProviderOverrides>,
    schemas: &Schemas,
) -> usize {
    let limit = overrides.and_then(|overrides| overrides.body_limit);
    let most = if schemas.is_empty() { BODY_BYTES_MAX } else { CHECKED_BYTES_MAX };
    if limit.is_some_and(|limit| limit.0 > most as u64) {
        let why = if schemas.is_empty() { "" } else { " where there are schemas" };
        section.problem("body_limit", format!("must be at most {}{why}", format_size(most)));
    }
    most
}

/// The secrets, unless the provider needs some and there are none.
fn required_secrets(
    section: &Section<'_>,
    provider: Option<&Provider>,
    secrets: Option<Vec<NamedSecret>>,
) -> Option<Vec<NamedSecret>> {
    if !section.has("secrets") && !provider.is_some_and(needs_no_secret) {
        section.problem("secrets", missing_secrets(provider));
        return None;
    }
    secrets
}

/// The verifier for the secrets, if they are strong enough.
fn verifier(
    section: &Section<'_>,
    provider: Option<&Provider>,
    secrets: Option<&[NamedSecret]>,
    params: Option<&Params>,
) -> Option<Verifier> {
    let strong = match provider.zip(secrets) {
        Some((provider, secrets)) => secret_strength::judge_secrets(section, provider, secrets),
        None => true,
    };
    provider.iter().for_each(|provider| secret_strength::note_schemes(section, provider));
    let (provider, secrets) = provider.zip(secrets).filter(|_| strong)?;
    let made = provider.verifier_with(secrets, params?);
    made.map_err(|error| unusable(section, secrets, &error)).ok()
}

/// Notes a problem if the provider signs the URL and the URL is not known.
fn require_public_url(
    section: &Section<'_>,
    provider: Option<&Provider>,
    verifier: Option<&Verifier>,
    public_url: Option<&str>,
) {
    if let (Some(provider), Some(verifier), None) = (provider, verifier, public_url)
        && verifier.signs_url()
    {
        let what = format!(
            "is missing: {} signs the URL of the request; set it here or as server.public_url",
            provider.name
        );
        section.problem("public_url", what);
    }
}

/// The provider's parameters besides secrets: every required one, and no unknown one.
fn params(
    section: &mut Section<'_>,
    provider: Option<&Provider>,
    context: &LoadContext<'_>,
) -> Option<Params> {
    let given = section.entries("params").unwrap_or_default();
    let asked: Vec<_> = provider?.params.iter().filter(|param| param.name != "secret").collect();
    let mut params = Params::new();
    let mut complete = true;
    for (name, _, value) in given {
        if !asked.iter().any(|param| param.name == *name) {
            let known: Vec<_> = asked.iter().map(|param| param.name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            section.problem(&format!("params.{name}"), format!("the provider asks for {known}"));
            complete = false;
            continue;
        }
        match secret::text_or_reference(section, "params", name, value, context) {
            Some(bytes) => {
                let secret = asked.iter().any(|param| param.secret && param.name == *name);
                complete &= !secret
                    || secret_strength::judge_text_of(
                        section,
                        &format!("params.{name}"),
                        "secret",
                        &bytes,
                    );
                params.insert(name.to_owned(), Secret::new(bytes));
            }
            None => complete = false,
        }
    }
    for name in provider?.host_params() {
        let listed = params.get(name).map(|hosts| String::from_utf8_lossy(hosts.expose()));
        if let Some(Err(odd)) = listed.as_deref().map(parse_host_list) {
            let what = format!("{odd:?} is not a host name with one * at most");
            section.problem(&format!("params.{name}"), what);
            complete = false;
        }
    }
    for param in asked.iter().filter(|param| param.required && !params.contains_key(&param.name)) {
        if complete {
            section
                .problem(&format!("params.{}", param.name), format!("is missing: {}", param.about));
        }
        complete = false;
    }
    complete.then_some(params)
}

fn own_public_url(section: &Section<'_>, overrides: Option<&ProviderOverrides>) -> Option<String> {
    let url = overrides?.public_url.as_ref()?;
    // This is the whole URL, unlike server.public_url, so a slash at its end belongs to it.
    match public_base(url) {
        Ok(_) => Some(url.clone()),
        Err(what) => {
            section.problem("public_url", what);
            None
        }
    }
}

fn unknown_provider(word: &str, catalog: &Catalog) -> String {
    let names = catalog.iter().map(|provider| &*provider.name);
    let near =
        names.min_by_key(|name| levenshtein(name, word)).filter(|n| levenshtein(n, word) <= 2);
    let meant = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let word = weir_core::units::shortened(word);
    format!(
        "no provider `{word}`; {meant}`weir providers` lists them. For another sender, \
         write \"custom\" and a \
         [….signature] table"
    )
}

/// True if the sender publishes its keys or hands its secret over.
pub(crate) fn needs_no_secret(provider: &Provider) -> bool {
    let alone = |scheme: &Arc<Scheme>| scheme.fetched_key.is_some() && scheme.also.is_none();
    provider.receives_secret() || provider.schemes.iter().any(alone)
}

fn missing_secrets(provider: Option<&Provider>) -> String {
    let secret = provider.and_then(|p| p.params.iter().find(|param| param.secret));
    let about = secret.map_or_else(String::new, |param| format!(" ({})", param.about));
    format!("is missing{about}; write [{{ env = \"NAME\" }}] or [{{ file = \"path\" }}]")
}

/// Notes the provider's problems with the overrides, with the source's key names.
fn refused(section: &Section<'_>, error: &ProviderError) {
    match error {
        ProviderError::Format { message } => section.problem("", message),
        ProviderError::Invalid(problems) => {
            for problem in problems {
                let of_scheme =
                    problem.path.strip_prefix("schemes.").filter(|_| section.has("signature"));
                let path = match of_scheme {
                    Some(rest) => match rest.split_once('.') {
                        Some((_, field)) => format!("signature.{field}"),
                        None => "signature".into(),
                    },
                    None => problem.path.clone(),
                };
                section.problem(&path, &problem.message);
            }
        }
    }
}

fn unusable(section: &Section<'_>, secrets: &[NamedSecret], error: &SecretError) {
    let (name, what) = match error {
        SecretError::None => (None, error.to_string()),
        SecretError::ParamMissing { param, .. } | SecretError::ParamUnusable { param, .. } => {
            return section.problem(&format!("params.{param}"), error);
        }
        SecretError::UnknownScheme { secret, .. } => (Some(secret), error.to_string()),
        SecretError::Unusable { secret, cause, .. } => (Some(secret), format!("{error}: {cause}")),
    };
    let index = secrets.iter().position(|s| Some(&s.name) == name);
    let nearest = match (error, index) {
        (SecretError::Unusable { cause, .. }, Some(index)) => {
            likely_key_form(*cause, secrets[index].value.expose())
        }
        _ => None,
    };
    let what = nearest.map_or(what.clone(), |nearest| format!("{what}; {nearest}"));
    let key = index.map_or_else(|| "secrets".into(), |index| format!("secrets[{index}]"));
    section.problem(&key, what);
}
