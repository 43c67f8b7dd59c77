//! Whole files: what is right, what is wrong and exactly how that is said.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use weir_core::breaker::BreakerPolicy;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::provider::Catalog;
use weir_core::retry::RetryPolicy;
use weir_store::upkeep::Retention;

use super::assemble::assemble;
use super::context::LoadContext;
use super::load::from_text;
use super::tree::{Report, parse};
use super::*;

fn variable(name: &str) -> Option<OsString> {
    match name {
        "GITHUB_SECRET" | "GITHUB_WEBHOOK_SECRET" => Some("gh-secret".into()),
        "OPS_SECRET" => Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
        "EMPTY" => Some("".into()),
        "SHORT" => Some("x".into()),
        _ => None,
    }
}

fn loaded(text: &str) -> (Config, Vec<ConfigProblem>) {
    from_text("weir.toml", text, Path::new("base"), &variable, super::Mode::Production).unwrap()
}

/// Every problem of a text, a line each.
fn problems(text: &str) -> String {
    let result =
        from_text("weir.toml", text, Path::new("base"), &variable, super::Mode::Production);
    result.map(|_| ()).unwrap_err().to_string()
}

fn settings(config: &Config, name: &str, sidecar: &str) -> Result<HandlerSettings, ConfigErrors> {
    config.settings_for(&HandlerName::new(name).unwrap(), Some(("orders.toml", sidecar)))
}

/// The commented examples of the defaults file as a file, beside the settings with defaults.
pub(super) fn documented() -> String {
    let mut text = String::new();
    let mut example = false;
    for line in DEFAULTS.lines() {
        example |= line.starts_with("# [");
        let setting = line.strip_prefix("# ").filter(|rest| {
            let key = rest.split_once(" = ").map(|(key, _)| key);
            example || key.is_some_and(|key| !key.contains(' '))
        });
        text.push_str(setting.unwrap_or(if example && line == "#" { "" } else { line }));
        text.push('\n');
    }
    text
}

#[test]
fn the_commented_file_has_the_defaults_of_the_code() {
    let (config, warnings) = loaded("");
    let (stated, _) = loaded(DEFAULTS);
    assert_eq!(format!("{config:?}"), format!("{stated:?}"));
    assert!(warnings.is_empty());
    assert_eq!(config.retention, Retention::default());
    assert_eq!(config.handler_defaults.retry, RetryPolicy::for_handlers());
    assert_eq!(config.handler_defaults.breaker, BreakerPolicy::for_handlers());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert!(config.server.listen.ip().is_loopback() && config.admin.listen.ip().is_loopback());
    assert_eq!(config.store_url, "sqlite:base/data/weir.db");
    assert_eq!(config.data_dir, Path::new("base/data"));
    assert_eq!(config.plugins.dir, Path::new("base/plugins"));
    let text = "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://ops.example.com\"";
    let (config, _) = loaded(text);
    let ops = &config.destinations["ops"];
    assert_eq!(ops.retry, RetryPolicy::for_destinations());
    assert_eq!(ops.breaker, BreakerPolicy::for_destinations());
    assert_eq!(ops.concurrency, 16);
}

#[test]
fn every_key_is_documented_and_every_example_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    for file in ["secrets/partner", "secrets/github-old", "secrets/partner-token-old"] {
        fs::write(folder.path().join(file), "a secret\n").unwrap();
    }
    let (text, path) = (documented(), |name: &str| folder.path().join(name));
    fs::create_dir(path("tls")).unwrap();
    fs::create_dir(path("schemas")).unwrap();
    fs::write(path("schemas/order.json"), r#"{"type":"object"}"#).unwrap();
    let made = rcgen::generate_simple_self_signed(["hub".to_owned()]).unwrap();
    for certificate in ["tls/hooks.pem", "tls/clients.pem", "tls/private-ca.pem", "tls/hub.pem"] {
        fs::write(path(certificate), made.cert.pem()).unwrap();
    }
    for key in ["tls/hooks.key", "tls/hub.key"] {
        fs::write(path(key), made.signing_key.serialize_pem()).unwrap();
    }
    fs::write(path("key.json"), super::destination::test_key_file()).unwrap();
    let report = Report::new("weir.toml", &text);
    let tree = parse(&text, &report);
    let context = LoadContext {
        folder: folder.path(),
        variable: &|_| Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
        mode: super::Mode::Production,
        paths_read: &std::cell::RefCell::default(),
    };
    let catalog = Catalog::built_in().unwrap();
    let mut providers = Providers::new(catalog, tree.get_ref(), [].into());
    let config = assemble(&report, tree.get_ref(), &mut providers, &context, 2);
    let asked = report.asked();
    let result = report.close();
    assert!(result.is_ok(), "{}\n{text}", result.unwrap_err());
    assert_eq!(config.unwrap().routes.len(), 3);

    let documented = toml::Value::from(toml::from_str::<toml::Table>(&text).unwrap());
    let missing: Vec<_> = asked
        .iter()
        .filter(|path| !homes(path).iter().any(|home| has(&documented, home)))
        .collect();
    assert!(missing.is_empty(), "not in defaults.toml: {missing:?}");
}

/// The places of the file that may document a key: its own, the defaults, or the text about
/// secrets.
fn homes(path: &str) -> Vec<String> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let mut homes = vec![path.to_owned()];
    let inherited = path.strip_prefix("handlers.*.").or(path.strip_prefix("destinations.*."));
    let inherited = inherited.or(path.strip_prefix("defaults.destination."));
    let inherited = inherited.or(path.strip_prefix("defaults."));
    if let Some(rest) = inherited {
        homes.extend([format!("defaults.{rest}"), format!("defaults.destination.{rest}")]);
    }
    if path.contains(".headers.") {
        homes.push(format!("destinations.*.headers.*.{last}"));
    }
    homes.extend(path.strip_prefix("admin.tls.").map(|rest| format!("server.tls.{rest}")));
    if ["env", "file", "name", "scheme"].contains(&last) {
        homes.push(format!("sources.*.secrets.*.{last}"));
    }
    homes
}

/// True if a value has this path. `*` stands for any key or item.
fn has(value: &toml::Value, path: &str) -> bool {
    let Some((key, rest)) =
        path.split_once('.').or(Some((path, ""))).filter(|(key, _)| !key.is_empty())
    else {
        return true;
    };
    match value {
        toml::Value::Table(table) if key == "*" => table.values().any(|v| has(v, rest)),
        toml::Value::Array(items) if key == "*" => items.iter().any(|v| has(v, rest)),
        toml::Value::Table(table) => table.get(key).is_some_and(|v| has(v, rest)),
        _ => false,
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_line_and_path() {
    let text = r#"
[server]
listen = "8080"
lisetn = "x"
body_limit = "26MiB"
max_connections = 0
header_timeout = 5

[admin]
token = { env = "SHORT" }
allowed_hosts = ["https://weir.example.com"]

[sources.github]
provider = "githb"
secrets = ["in the open", { env = "NOPE" }, { env = "EMPTY" }, { env = "A", file = "b" }]

[destinations.ops]
kind = "webhook"
url = "ops.example.com"

[[route]]
on = ["push"]
to = "opps"

[handlers.orders]
grant = { destinations = ["nowhere"] }
limits = { memory = "1GiB" }
retry = { first = "10m", max = "5m" }
"#;
    assert_eq!(
        problems(text),
        "\
weir.toml:3: server.listen: `8080` is not an address and port, such as \"127.0.0.1:8080\" or \"[::]:8080\"
weir.toml:4: server.lisetn: unknown key; did you mean `listen`?
weir.toml:5: server.body_limit: must be at most 25MiB
weir.toml:6: server.max_connections: must be at least 1
weir.toml:7: server.header_timeout: expected a duration such as \"30s\", found a number
weir.toml:10: admin.token: is shorter than 16 bytes
weir.toml:11: admin.allowed_hosts[0]: write a host name alone, with no scheme, port or wildcard
weir.toml:14: sources.github.provider: no provider `githb`; did you mean `github`? `weir providers` lists them. \
For another sender, write \"custom\" and a [….signature] table
weir.toml:15: sources.github.secrets[0]: a secret may not be written in the file itself; \
write { env = \"NAME\" } or { file = \"path\" }, or start with --dev
weir.toml:15: sources.github.secrets[1].env: environment variable NOPE is not set
weir.toml:15: sources.github.secrets[2].env: environment variable EMPTY is empty
weir.toml:15: sources.github.secrets[3]: expected { env = \"NAME\" } or { file = \"path\" }: one of the two
weir.toml:19: destinations.ops.url: must start with http:// or https://; write one such as \"https://ops.example.com/hook\"
weir.toml:22: route[0].on[0]: pattern `push` has no `:`; write source:type, such as github:push or *:*, \
or category:WORD
weir.toml:23: route[0].to: no destination `opps`; there is: ops
weir.toml:26: handlers.orders.grant.destinations[0]: no destination `nowhere`; there is: ops
weir.toml:27: handlers.orders.limits.memory: 1GiB is more than runs.memory_ceiling (512MiB)
weir.toml:28: handlers.orders.retry.max: 5m is shorter than first (10m)"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_mistake_is_one_line() {
    for (text, wanted) in [
        ("[sever]", "weir.toml:1: sever: unknown key; did you mean `server`?"),
        ("[server", "weir.toml:1: "),
        ("server = 3", "weir.toml:1: server: expected a table, found a number"),
        (
            "[server]\nlisten = \"127.0.0.1:8081\"",
            "weir.toml: admin.listen: is the same address as server.listen; give each its own port",
        ),
        (
            "[store]\nurl = \"postgres://db\"",
            "weir.toml:2: store.url: this version keeps its data in SQLite only; \
             write \"sqlite:data/weir.db\"",
        ),
        ("[log]\nlevel = \"infoo\"", "weir.toml:2: log.level: is not a filter; write error, warn,"),
        (
            "[plugins]\ngrants = \"all\"",
            "weir.toml:2: plugins.grants: must be \"sidecar\" or \"config\"",
        ),
        (
            "[server]\npublic_url = \"hooks.example.com\"",
            "weir.toml:2: server.public_url: must start with http:// or https://; write one",
        ),
        (
            "[sources.weir]\nprovider = \"github\"",
            "weir.toml:1: sources.weir: `weir` is not a source name: use 1 to 63 of a-z, 0-9, `-` or `_` \
             (`weir`, `schedule` and `category` are taken), starting with a letter or digit",
        ),
        (
            "[sources.github]\nprovider = \"github\"",
            "weir.toml:1: sources.github.secrets: is missing",
        ),
        (
            "[sources.sms]\nprovider = \"twilio\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]",
            "weir.toml:1: sources.sms.public_url: is missing: twilio signs the URL of the request; \
             set it here or as server.public_url",
        ),
        (
            "[sources.a]\nprovider = \"custom\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n\
             [sources.a.signature]\nalgorithm = \"md5\"",
            "weir.toml:5: sources.a.signature.algorithm: unknown variant `md5`, expected one of",
        ),
        (
            "[sources.a]\nprovider = \"custom\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n\
             [sources.a.signature]\nmessage = \"{bodi}\"",
            "weir.toml:4: sources.a.signature.message: ",
        ),
        (
            "[sources.a]\nprovider = \"github\"\ntolerance = \"5m\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]",
            "weir.toml:3: sources.a.tolerance: the scheme has no timestamp",
        ),
        (
            "[sources.a]\nprovider = \"sendgrid\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]",
            "weir.toml:3: sources.a.secrets[0]: secret GITHUB_SECRET cannot be used with scheme ",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }, { env = \"GITHUB_SECRET\" }]",
            "weir.toml:3: sources.a.secrets[1]: a second secret named `GITHUB_SECRET`; give it a name",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ file = \"no/such\" }]",
            "weir.toml:3: sources.a.secrets[0].file: base/no/such cannot be read: No such file",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            "weir.toml:2: server.trusted_proxies[0]: `10.0.0.1/8` has address bits beyond its prefix; \
             did you mean `10.0.0.0/8`?",
        ),
        (
            "[server]\nforwarded_by = \"x-real-ip\"",
            "weir.toml:2: server.forwarded_by: write \"x-forwarded-for\" or \"forwarded\"",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\nallow_ips = [\"here\"]",
            "weir.toml:4: sources.a.allow_ips[0]: `here` is no address or block, such as \"203.0.113.7\"",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\nallow_ips = []",
            "weir.toml:4: sources.a.allow_ips: is empty, so all requests would be refused",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n\
             schemas = { \"push\" = \"no/such\" }",
            "weir.toml:4: sources.a.schemas.push: base/no/such cannot be read: No such file",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\nrate = \"100\"",
            "weir.toml:4: sources.a.rate: `100` is not a rate such as \"100/s\"",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\nburst = 2",
            "weir.toml:4: sources.a.burst: has no effect without `rate`",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n\
             auth = { in = \"cookie:a\", tokens = [{ env = \"GITHUB_SECRET\" }] }",
            "weir.toml:4: sources.a.auth.in: write \"bearer\", \"basic\", \"header:NAME\"",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n\
             auth = { in = \"basic\", tokens = [{ env = \"GITHUB_SECRET\" }] }",
            "weir.toml:4: sources.a.auth.tokens[0]: for \"basic\", the secret must be user:password",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n\
             auth = { in = \"bearer\", tokens = [\"t0ken\"] }",
            "weir.toml:4: sources.a.auth.tokens[0]: a secret may not be written in the file itself",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://a:b@h/\"",
            "weir.toml:3: destinations.ops.url: holds a password, which logs would show",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://h/\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]",
            "weir.toml:4: destinations.ops.secrets[0]: is not a Standard Webhooks secret",
        ),
        (
            "[destinations.ops]\nkind = \"inbox\"\nurl = \"https://h/\"",
            "weir.toml:3: destinations.ops.url: unknown key; known here: breaker, burst, concurrency, kind, on_blocked, ordered, rate, retry",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://h/\"\nheaders = { Host = \"x\" }",
            "weir.toml:4: destinations.ops.headers.Host: is set by the hub, because it frames, signs or routes the message; use another name",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://h/\"\nheaders = { Weir-Source = \"x\" }",
            "weir.toml:4: destinations.ops.headers.Weir-Source: is set by the hub, because it frames, signs or routes the message; use another name",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://h/\"\nallow = [\"@public\"]",
            "weir.toml:4: destinations.ops.allow[0]: must be \"@private\", \"@linklocal\" or \"@metadata\"",
        ),
        (
            "[[route]]\nto = \"ops\"\n[destinations.ops]\nkind = \"inbox\"",
            "weir.toml:1: route[0].on: is missing",
        ),
        (
            "[defaults.retry]\nfactor = 0.5",
            "weir.toml:2: defaults.retry.factor: must be at least 1, not 0.5: waits must not become shorter",
        ),
        (
            "[defaults.destination.retry]\nschedule = []",
            "weir.toml:1: defaults.destination.retry.schedule: must list at least one delay",
        ),
        (
            "[handlers.orders.retry]\nschedule = [\"1s\"]\nfirst = \"1s\"",
            "weir.toml:2: handlers.orders.retry.schedule: either a schedule, or first, factor and max, not both",
        ),
        (
            "[handlers.Orders]\non = []",
            "weir.toml:1: handlers.Orders: `Orders` is not a handler name: use 1 to 63 of a-z, 0-9, `-`, \
             starting with a letter or digit",
        ),
        (
            "[handlers.orders]\nconfig = { threshold = 5 }",
            "weir.toml:2: handlers.orders.config.threshold: expected text in \"quotes\", found a number",
        ),
    ] {
        let said = problems(text);
        assert!(said.starts_with(wanted), "\n{text}\nsays   {said}\nwanted {wanted}");
        assert_eq!(said.lines().count(), 1, "\n{text}\nsays   {said}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A wrong line in an otherwise right file is named, and never the cause of a panic.
    #[test]
    fn a_line_of_nonsense_is_reported(
        at in any::<prop::sample::Index>(),
        nonsense in prop_oneof![
            "\\PC{0,40}",
            "[a-z_]{1,12} = (\"[a-z0-9:@*/.]{0,20}\"|-?[0-9]{1,20}|\\[\\]|\\{\\}|true|nan|1979-05-27)",
            "\\[{1,2}(sources|destinations|handlers|route|server|defaults)(\\.[a-z]{1,4}){0,2}\\]{1,2}",
        ],
    ) {
        let text = documented();
        let mut lines: Vec<&str> = text.lines().collect();
        let at = at.index(lines.len());
        lines[at] = &nonsense;
        let text = lines.join("\n");
        if let Err(errors) = from_text("weir.toml", &text, Path::new("no"), &variable, super::Mode::Production) {
            prop_assert!(!errors.problems.is_empty());
            let told = errors.to_string();
            prop_assert!(!told.contains("the reason was not recorded"), "{}\n{}", told, text);
        }
    }
}

#[test]
fn required_parameters_of_a_provider_are_reported() {
    let source = |params: &str| {
        format!(
            "[sources.a]\nprovider = \"braintree\"\nsecrets = [{{ env = \"GITHUB_SECRET\" }}]\n{params}"
        )
    };
    let (config, _) = loaded(&source("params = { public_key = { env = \"SHORT\" } }"));
    assert_eq!(config.sources["a"].params["public_key"].expose(), b"x");
    let (config, _) = loaded(&source("params.public_key = \"y\""));
    assert_eq!(config.sources["a"].params["public_key"].expose(), b"y");
    let missing = problems(&source(""));
    assert!(missing.contains("sources.a.params.public_key: is missing: "), "{missing}");
    let unknown = problems(&source("params = { public_ky = \"y\" }"));
    assert!(unknown.contains("params.public_ky: the provider asks for public_key"), "{unknown}");
}

#[test]
fn a_secret_file_loses_its_line_ending_and_should_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("partner");
    fs::write(&path, "s3cr3t-of-16-bytes\r\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let text = "[sources.a]\nprovider = \"custom\"\nsecrets = [{ file = \"partner\" }, \
                { env = \"OPS_SECRET\", name = \"old\" }]";
    let (config, warnings) =
        from_text("weir.toml", text, folder.path(), &variable, super::Mode::Production).unwrap();
    let secrets = &config.sources["a"].secrets;
    assert_eq!(secrets[0].value.expose(), b"s3cr3t-of-16-bytes");
    assert_eq!((&*secrets[0].name, &*secrets[1].name), ("partner", "old"));
    let warning = warnings[0].to_string();
    assert!(warning.starts_with("weir.toml:3: sources.a.secrets[0].file: "), "{warning}");
    assert!(
        warning.ends_with("can be read by every user of this machine; chmod 600 it"),
        "{warning}"
    );
    assert!(!format!("{config:?} {warnings:?}").contains("s3cr3t"));
}

#[test]
fn secrets_in_the_file_need_development_mode() {
    let text = "[sources.a]\nprovider = \"github\"\nsecrets = [\"plainly\"]";
    assert!(problems(text).contains("--dev"));
    let (config, _) =
        from_text("weir.toml", text, Path::new(""), &variable, super::Mode::Development).unwrap();
    assert_eq!(config.sources["a"].secrets[0].value.expose(), b"plainly");
    assert!(config.destinations.contains_key("inbox"), "development mode has an inbox");
}

#[test]
fn a_destination_may_override_its_schedule_with_growing_waits() {
    let text = "[destinations.ops]\nkind = \"inbox\"\nretry = { first = \"1s\", max_attempts = 3 }";
    let retry = &loaded(text).0.destinations["ops"].retry;
    assert_eq!((retry.max_attempts(), retry.longest()), (3, Duration::from_secs(600)));
}

#[test]
fn a_header_with_a_secret_is_not_printed() {
    let text = "[destinations.ops]\nkind = \"webhook\"\nurl = \"https://h/\"\n\
                headers = { authorization = { env = \"GITHUB_SECRET\" }, x-team = \"ops\" }";
    let (config, _) = loaded(text);
    let TransportSettings::Webhook(webhook) = &config.destinations["ops"].transport else {
        panic!()
    };
    assert_eq!(webhook.headers[0].1.as_bytes(), b"gh-secret");
    assert!(!format!("{config:?}").contains("gh-secret"));
}

#[test]
fn a_source_may_override_any_key_of_its_provider() {
    let text = "[server]\npublic_url = \"https://h.example/\"\n[sources.a]\nprovider = \"stripe\"\n\
                secrets = [{ env = \"GITHUB_SECRET\" }]\ntolerance = \"10m\"\nbody_limit = \"2MiB\"";
    let (config, _) = loaded(text);
    let source = &config.sources["a"];
    let tolerance = source.provider.schemes[0].timestamp.as_ref().unwrap().tolerance;
    assert_eq!(tolerance, Some(Duration::from_secs(600)));
    assert_eq!(source.body_limit, 2 * 1024 * 1024);
    assert_eq!(source.public_url.as_deref(), Some("https://h.example/webhook/a"));
}

#[test]
fn a_reachable_admin_listener_raises_a_warning() {
    let (_, warnings) = loaded("[admin]\nlisten = \"0.0.0.0:8081\"");
    assert!(
        warnings[0]
            .to_string()
            .starts_with("weir.toml:2: admin.listen: is reachable from other machines")
    );
}

#[test]
fn a_pattern_of_an_unknown_source_raises_a_warning() {
    let text = "[[route]]\non = [\"githb:push\", \"@orders:late\", \"*:*\"]\nto = \"ops\"\n\
                [destinations.ops]\nkind = \"inbox\"";
    let warnings: Vec<_> = loaded(text).1.iter().map(ToString::to_string).collect();
    let wanted =
        "weir.toml:2: route[0].on: `githb:push` matches nothing: there is no [sources.githb]";
    assert_eq!(warnings, [wanted]);
}

#[test]
fn an_unknown_alert_type_raises_a_warning() {
    let text = "[[route]]\non = [\"weir:*\", \"weir:hold.old\", \"weir:dead_leter\"]\nto = \"ops\"\n\
                [destinations.ops]\nkind = \"inbox\"";
    let warnings: Vec<_> = loaded(text).1.iter().map(ToString::to_string).collect();
    let wanted = "weir.toml:2: route[0].on: `weir:dead_leter` matches nothing: the alert types are dead_letter, ";
    assert!(warnings.len() == 1 && warnings[0].starts_with(wanted), "{warnings:?}");
}

#[test]
fn the_configuration_overrides_the_sidecar_key_by_key() {
    let text = "[destinations.ops]\nkind = \"inbox\"\n[destinations.other]\nkind = \"inbox\"\n\
                [handlers.orders]\nconfig = { a = \"1\" }\nlimits = { time = \"2s\" }\n\
                grant = { destinations = [\"ops\"] }\nretry = { first = \"2s\" }";
    let (config, _) = loaded(text);
    let sidecar = "on = [\"shopify:*\"]\n[config]\na = \"0\"\nb = \"2\"\n[limits]\ntime = \"9s\"\n\
                   memory = \"1MiB\"\n[grant]\ndestinations = [\"other\"]\nemit = true\n[retry]\n\
                   first = \"7s\"\nmax_attempts = 3";
    let settings = settings(&config, "orders", sidecar).unwrap();
    assert_eq!(settings.on.unwrap()[0].as_str(), "shopify:*");
    let entries = settings.config.unwrap();
    assert_eq!((entries["a"].as_str(), entries["b"].as_str()), ("1", "2"));
    let limits = settings.limits.unwrap();
    assert_eq!((limits.time, limits.memory), (Duration::from_secs(2), 1024 * 1024));
    let ops = DestinationName::new("ops").unwrap();
    let grant = Grant { destinations: BTreeSet::from([ops]), emit: true };
    assert_eq!(settings.grant, Some(grant));
    assert_eq!(settings.retry.unwrap().max_attempts(), 3);
}

#[test]
fn a_sidecar_cannot_grant_if_only_the_configuration_may() {
    let text = "[plugins]\ngrants = \"config\"\n[destinations.ops]\nkind = \"inbox\"";
    let (config, _) = loaded(text);
    let sidecar = "[grant]\ndestinations = [\"ops\"]\nemit = true";
    assert_eq!(settings(&config, "orders", sidecar).unwrap().grant, None);
}

#[test]
fn an_invalid_sidecar_is_refused_with_its_name_and_lines() {
    let (config, _) = loaded("");
    let sidecar =
        "on = [\"push\"]\n[limits]\nmemory = \"1TiB\"\nspeed = 3\n[grant]\ndestinations = [\"x\"]";
    let said = settings(&config, "orders", sidecar).unwrap_err().to_string();
    assert_eq!(
        said,
        "\
orders.toml:1: on[0]: pattern `push` has no `:`; write source:type, such as github:push or *:*, or category:WORD
orders.toml:2: limits.memory: 1TiB is more than runs.memory_ceiling (512MiB)
orders.toml:4: limits.speed: unknown key; known here: concurrency, memory, state, state_keys, time
orders.toml:6: grant.destinations[0]: no destination `x`: there is no [destinations.…] at all"
    );
}

#[test]
fn without_a_sidecar_the_configuration_is_used() {
    let (config, _) = loaded("[handlers.orders]\nlimits = { time = \"2s\" }");
    let orders = HandlerName::new("orders").unwrap();
    let settings = config.settings_for(&orders, None).unwrap();
    assert_eq!(settings.limits.unwrap().time, Duration::from_secs(2));
    let other = HandlerName::new("other").unwrap();
    assert_eq!(config.settings_for(&other, None).unwrap(), HandlerSettings::default());
}

#[test]
fn a_source_may_name_a_responder_and_its_deadline() {
    let source = |more: &str| {
        format!(
            "[sources.a]\nprovider = \"github\"\nsecrets = [{{ env = \"GITHUB_SECRET\" }}]\n{more}"
        )
    };
    let responder = |more: &str| loaded(&source(more)).0.sources["a"].responder.clone();
    assert_eq!(responder(""), None);
    let named = responder("responder = \"commands\"").unwrap();
    assert_eq!((named.handler.as_str(), named.deadline), ("commands", Duration::from_millis(2500)));
    let quick = responder("responder = \"commands\"\nresponder_deadline = \"1s\"").unwrap();
    assert_eq!(quick.deadline, Duration::from_secs(1));
    assert_eq!(
        problems(&source("responder = \"commands\"\nresponder_deadline = \"5m\"")),
        "weir.toml:5: sources.a.responder_deadline: must be at most 30s"
    );
    assert_eq!(
        problems(&source("responder_deadline = \"1s\"")),
        "weir.toml:4: sources.a.responder_deadline: has no effect without a responder"
    );
}
