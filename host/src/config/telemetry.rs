//! `[telemetry.otlp]`: the export of traces, metrics and logs, also by the standard variables
//! `OTEL_…`. A setting in the file goes before a variable.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::context::LoadContext;
use super::secret;
use super::tree::Section;
use super::url::endpoint;
use crate::tls::TrustedRoots;

/// The most headers of a request to the collector.
const HEADERS_MAX: usize = 32;
/// The most facts about this process that a variable may add.
const RESOURCE_MAX: usize = 32;
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The settings of the export over OTLP. A signal without a target is not exported.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    pub traces: Option<OtlpTarget>,
    pub metrics: Option<OtlpTarget>,
    pub logs: Option<OtlpTarget>,
    /// The share of new traces that is exported.
    pub sample: f64,
    /// The time between two exports of the metrics.
    pub interval: Duration,
    /// The timeout of the whole answer.
    pub timeout: Duration,
    /// Facts about this process, with its name.
    pub resource: Vec<(String, String)>,
    /// The authorities for the collector.
    pub trust: TrustedRoots,
}

impl OtlpSettings {
    /// True if nothing is exported.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.traces.is_none() && self.metrics.is_none() && self.logs.is_none()
    }
}

/// The place that a signal is sent to.
#[derive(Clone)]
pub struct OtlpTarget {
    pub url: Uri,
    pub headers: HeaderMap,
}

impl fmt::Debug for OtlpTarget {
    /// Without the query of the URL and the values of headers, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("OtlpTarget")
            .field("host", &self.url.host())
            .field("path", &self.url.path())
            .field("headers", &names)
            .finish()
    }
}

/// A kind of data that is exported.
struct Signal {
    path: &'static str,
    /// The word in the names of variables.
    word: &'static str,
}

const TRACES: Signal = Signal { path: "v1/traces", word: "TRACES" };
const METRICS: Signal = Signal { path: "v1/metrics", word: "METRICS" };
const LOGS: Signal = Signal { path: "v1/logs", word: "LOGS" };

/// The settings that all signals have in common.
struct Common<'a> {
    base: Option<String>,
    headers: HeaderMap,
    is_disabled: bool,
    section: &'a Section<'a>,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

pub(super) fn read(
    mut section: Section<'_>,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<OtlpSettings> {
    let mut otlp = section.section("otlp");
    section.finish();
    let variable = |name: &str| {
        let value = (context.variable)(name)?.into_string().ok()?;
        (!value.trim().is_empty()).then(|| value.trim().to_owned())
    };
    let base = otlp.maybe::<String>("endpoint").inspect(|url| {
        if let Err(what) = endpoint(url) {
            otlp.problem("endpoint", what);
        }
    });
    let headers = headers(&mut otlp, context);
    let trust = super::trust::with_ca(trust, &mut otlp, context);
    let sample = otlp.checked("sample", |share: &f64| match share {
        0.0..=1.0 => Ok(()),
        _ => Err(format!("must be between 0 and 1, not {share}")),
    });
    let interval = otlp.checked("interval", |every: &Duration| match INTERVALS.contains(every) {
        true => Ok(()),
        false => Err("must be between 1s and 1d".into()),
    });
    let timeout = otlp.checked("timeout", |timeout: &Duration| match *timeout {
        d if d.is_zero() => Err("must be more than 0s".into()),
        d if d > TIMEOUT_MAX => Err("must be at most 60s".into()),
        _ => Ok(()),
    });
    let wanted =
        [otlp.must::<bool>("traces"), otlp.must::<bool>("metrics"), otlp.must::<bool>("logs")];
    otlp.finish();
    let common = Common {
        base,
        headers,
        is_disabled: variable("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")),
        section: &otlp,
        variable: &variable,
    };
    let [traces, metrics, logs] = wanted;
    let target = |wanted: bool, signal| wanted.then(|| common.target(&signal)).flatten();
    Some(OtlpSettings {
        traces: target(traces?, TRACES),
        metrics: target(metrics?, METRICS),
        logs: target(logs?, LOGS),
        sample: sample?,
        interval: interval?,
        timeout: timeout?,
        resource: resource(&variable),
        trust,
    })
}

impl Common<'_> {
    /// The target of a signal; none if it is not exported.
    fn target(&self, signal: &Signal) -> Option<OtlpTarget> {
        if self.is_disabled {
            return None;
        }
        let word = signal.word;
        let below = |base: &str| format!("{}/{}", base.trim_end_matches('/'), signal.path);
        let (url, from) = match &self.base {
            Some(base) => (below(base), None),
            None => self.url_of_variables(word, below)?,
        };
        let url = match (endpoint(&url), from) {
            (Ok(url), _) => url,
            // The file's own was reported already.
            (Err(_), None) => return None,
            (Err(what), Some(name)) => {
                self.section.problem("endpoint", format!("of the variable {name} {what}"));
                return None;
            }
        };
        self.warn_of_protocol(word);
        let mut headers = self.headers.clone();
        let names = [format!("OTEL_EXPORTER_OTLP_{word}_HEADERS"), GENERAL_HEADERS.to_owned()];
        for name in names {
            let Some(list) = (self.variable)(&name) else { continue };
            self.add_headers(&mut headers, &name, &list);
        }
        Some(OtlpTarget { url, headers })
    }

    fn url_of_variables(
        &self,
        word: &str,
        below: impl Fn(&str) -> String,
    ) -> Option<(String, Option<String>)> {
        let exporter = (self.variable)(&format!("OTEL_{word}_EXPORTER"));
        if exporter.is_some_and(|exporters| !exporters.split(',').any(|e| e.trim() == "otlp")) {
            return None;
        }
        let own = format!("OTEL_EXPORTER_OTLP_{word}_ENDPOINT");
        if let Some(url) = (self.variable)(&own) {
            return Some((url, Some(own)));
        }
        let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let url = (self.variable)(general)?;
        Some((below(&url), Some(general.to_owned())))
    }

    fn warn_of_protocol(&self, word: &str) {
        let own = format!("OTEL_EXPORTER_OTLP_{word}_PROTOCOL");
        let asked =
            (self.variable)(&own).or_else(|| (self.variable)("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = asked.filter(|protocol| protocol != "http/protobuf") {
            let what = format!(
                "the variables OTEL_… ask for {other:?}; only http/protobuf is spoken, which \
                 collectors accept on port 4318"
            );
            self.section.warning("endpoint", what);
        }
    }

    /// Adds `name=value,name=value`, except the headers that are there already.
    fn add_headers(&self, headers: &mut HeaderMap, variable: &str, list: &str) {
        for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
            let header = pair.split_once('=').and_then(|(name, value)| {
                let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
                let name = HeaderName::try_from(name.trim()).ok()?;
                let mut value = HeaderValue::try_from(&*value).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            });
            match header {
                Some((name, value)) if headers.len() < HEADERS_MAX => {
                    headers.entry(name).or_insert(value);
                }
                Some(_) => {}
                None => {
                    let what = format!(
                        "the variable {variable} is not used: it is not name=value,name=value"
                    );
                    self.section.warning("headers", what);
                    return;
                }
            }
        }
    }
}

const GENERAL_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

fn headers(section: &mut Section<'_>, context: &LoadContext<'_>) -> HeaderMap {
    let given = section.entries("headers").unwrap_or_default();
    if given.len() > HEADERS_MAX {
        section.problem("headers", format!("has more than {HEADERS_MAX} entries"));
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (text, _, value) in given {
        let key = format!("headers.{text}");
        let Ok(name) = HeaderName::try_from(text) else {
            section.problem(&key, "is not the name of a header");
            continue;
        };
        let bytes = secret::text_or_reference(section, "headers", text, value, context);
        match bytes.map(HeaderValue::try_from) {
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Some(Err(_)) => section.problem(&key, "a header value may not hold control characters"),
            None => {}
        }
    }
    headers
}

/// The facts about this process: its name, its version, and those of the variables.
fn resource(variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let mut facts = vec![
        ("service.name".to_owned(), "weir".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let mut set = |name: &str, value: String| match facts.iter_mut().find(|(n, _)| n == name) {
        Some((_, known)) => *known = value,
        None => facts.push((name.to_owned(), value)),
    };
    let given = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    for (name, value) in given.split(',').take(RESOURCE_MAX).filter_map(|p| p.split_once('=')) {
        set(name.trim(), percent_decode_str(value.trim()).decode_utf8_lossy().into_owned());
    }
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        set("service.name", name);
    }
    facts
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::super::load::from_text;
    use super::*;
    use crate::config::{Config, ConfigErrors, ConfigProblem, Mode};

    fn load(
        text: &str,
        variables: &[(&str, &str)],
    ) -> Result<(Config, Vec<ConfigProblem>), ConfigErrors> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        from_text("weir.toml", text, Path::new(""), &variable, Mode::Production)
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<OtlpSettings, String> {
        let read = load(text, variables);
        read.map(|(config, _)| (*config.otlp).clone()).map_err(|problems| problems.to_string())
    }

    fn url(target: &Option<OtlpTarget>) -> String {
        target.as_ref().map_or_else(String::new, |target| target.url.to_string())
    }

    #[test]
    fn nothing_is_exported_until_an_endpoint_is_given() {
        assert!(read("", &[]).unwrap().is_off());
        let on = read("[telemetry]\notlp = { endpoint = \"http://c:4318\", logs = false }", &[]);
        let on = on.unwrap();
        assert_eq!(url(&on.traces), "http://c:4318/v1/traces");
        assert_eq!(
            (url(&on.metrics), url(&on.logs)),
            ("http://c:4318/v1/metrics".into(), "".into())
        );
    }

    #[test]
    fn the_standard_variables_are_read_and_the_file_goes_first() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318/base/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:1/own"),
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20env,x-a=1"),
            ("OTEL_SERVICE_NAME", "hooks"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,host.name=a%20b"),
        ];
        let read_with = |text: &str| read(text, &variables).unwrap();
        let on = read_with("");
        assert_eq!(url(&on.traces), "http://env:4318/base/v1/traces");
        assert_eq!((url(&on.metrics), url(&on.logs)), ("".into(), "http://logs:1/own".into()));
        assert_eq!(on.traces.unwrap().headers["authorization"], "Bearer env");
        assert_eq!(on.resource[0].1, "hooks");
        assert!(on.resource.contains(&("host.name".to_owned(), "a b".to_owned())));
        let file = read_with(
            "[telemetry.otlp]\nendpoint = \"http://file:1\"\nheaders = { authorization = \"mine\" }",
        );
        let metrics = file.metrics.unwrap();
        assert_eq!(metrics.url.to_string(), "http://file:1/v1/metrics");
        assert_eq!(
            (&metrics.headers["authorization"], &metrics.headers["x-a"]),
            (&"mine".parse().unwrap(), &"1".parse().unwrap())
        );
        let off = [&variables[..], &[("OTEL_SDK_DISABLED", "true")]].concat();
        assert!(read("", &off).unwrap().is_off());
    }

    #[test]
    fn mistakes_name_the_setting_and_show_no_secret() {
        for (text, place) in [
            ("endpoint = \"ftp://x\"", "telemetry.otlp.endpoint"),
            ("sample = 1.5", "telemetry.otlp.sample"),
            ("interval = \"10ms\"", "telemetry.otlp.interval"),
            ("timeout = \"2m\"", "telemetry.otlp.timeout"),
            ("headers = { \"a b\" = \"x\" }", "telemetry.otlp.headers.a b"),
        ] {
            let problems = read(&format!("[telemetry.otlp]\n{text}"), &[]).unwrap_err();
            assert!(problems.contains(place), "{problems}");
        }
        let bad = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), (GENERAL_HEADERS, "top-secret")];
        let (_, warnings) = load("", &bad).unwrap();
        let warning = warnings[0].to_string();
        assert!(warning.contains(GENERAL_HEADERS) && !warning.contains("top-secret"), "{warning}");
        let wrong = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")];
        assert!(read("", &wrong).unwrap_err().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let secret =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), (GENERAL_HEADERS, "k=top-secret")];
        let shown = format!("{:?}", read("", &secret).unwrap());
        assert!(!shown.contains("top-secret"), "{shown}");
    }
}
