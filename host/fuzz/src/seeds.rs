//! Seeds: the requests of the providers' files and samples, which each target starts with. They are
//! generated, not committed.
//!
//! If `WEIR_FUZZ_SEEDS` names a folder, a target fills it when it starts, before libFuzzer reads
//! it.

use std::path::Path;

use weir_core::provider::{Catalog, Provider};
use weir_core::sign::RequestDraft;

use crate::input::Written;
use crate::sources::{CATALOG, SCHEMES, drafted};
use crate::vectors::{PUBLISHED, VECTORS};

/// The pointers that are looked up in every JSON seed.
const POINTERS: &str = "/id /type /data/object/id /events/0 /a~1b/~0/1";

/// Fills the folder that `WEIR_FUZZ_SEEDS` names with the seeds of `target`; without the variable,
/// nothing is written.
///
/// # Panics
///
/// Panics if there is no such target, or the folder cannot be written.
pub fn write(target: &str) {
    let Some(folder) = std::env::var_os("WEIR_FUZZ_SEEDS") else { return };
    for (number, seed) in of(target).into_iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("{number:04}")), seed)
            .expect("the folder of seeds can be written to");
    }
}

fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "verify" => {
            let own = VECTORS.iter().map(|vector| &vector.request);
            own.chain(PUBLISHED.iter().map(|asked| &asked.request)).map(Written::text).collect()
        }
        "signed" => signed(),
        "headers" => HEADERS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "identify_json" => bodies(|kind| !is_form(kind), POINTERS),
        "identify_form" => bodies(is_form, ""),
        "provider_file" => {
            let files = CATALOG.iter().filter_map(|p| Catalog::built_in_text(&p.name));
            files.chain(OVERRIDES.iter().copied()).map(|text| text.as_bytes().to_vec()).collect()
        }
        "condition" => EXPRESSIONS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        other => panic!("no target {other}"),
    }
}

fn written(words: String, draft: RequestDraft) -> Vec<u8> {
    let RequestDraft { method, url, headers, body } = draft;
    Written { words, method, url, headers, body }.text()
}

/// The first sample of each provider for each of its schemes, with each kind of change.
fn signed() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, keyed) in SCHEMES.iter().enumerate() {
        let words = format!("{} {} {number}", keyed.provider.name, keyed.scheme.name);
        seeds.extend(keyed.provider.samples.first().map(|s| written(words, drafted(s))));
    }
    seeds
}

fn samples(provider: &Provider) -> impl Iterator<Item = RequestDraft> {
    provider.samples.iter().map(drafted)
}

fn is_form(content_type: &str) -> bool {
    content_type.starts_with("application/x-www-form-urlencoded")
}

/// Samples and vectors with a matching content type.
fn bodies(fits: impl Fn(&str) -> bool, more_words: &str) -> Vec<Vec<u8>> {
    let fits = |headers: &[(String, String)]| {
        let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        fits(kind.map_or("", |(_, value)| value))
    };
    let mut seeds = Vec::new();
    for provider in CATALOG.iter() {
        let words = format!("{} {more_words}", provider.name);
        let drafts = samples(provider).filter(|draft| fits(&draft.headers));
        seeds.extend(drafts.map(|draft| written(words.clone(), draft)));
    }
    for vector in VECTORS.iter().filter(|v| v.is_genuine && fits(&v.request.headers)) {
        let words = format!("{} {more_words}", vector.provider.name);
        seeds.push(Written { words, ..vector.request.clone() }.text());
    }
    seeds
}

/// One or two seeds of each kind of the target `headers`.
const HEADERS: &[&str] = &[
    "x-forwarded-for 0\n198.51.100.7, 10.0.0.9",
    "x-forwarded-for 1\nunknown\n10.0.0.7, ,[2001:db8::7]:4711",
    "x-forwarded-for 2\n[::ffff:10.0.0.1]",
    "forwarded 3\nfor=198.51.100.7;proto=https;by=\"[::1]\"",
    "forwarded 4\nfor=\"_hidden, \\\"\nFor=unknown; host=\"a",
    "bearer\nBearer old:t0ken",
    "bearer\nbearer  x\nBearer new:t0ken",
    "basic\nBasic b2xkOnQwa2Vu",
    "header\nold:t0ken",
    "query\nkey=old%3At0ken&a=b",
    "query\nkey=x&%6bey=new:t0ken",
    "pairs\nt=1760000000,v1=$v,v0=00",
    "pairs\nt=1760000000, v1=aa ,v1=$v",
    "pairs\nt=1760000000,t=1,v1=$v",
    "pairs\nt=+1760000000,v1=$v",
    "list\nmsg_1\n1760000000\nv1,$v",
    "list\nmsg_1\n1760000000\nv2,AA v1,$v  v1a,AA",
    "list\n\n01760000000\nv1,$u",
    "time-seconds\n1760000000",
    "time-seconds\n99999999999999999999",
    "time-millis\n1760000000000",
    "time-rfc3339\n2025-10-09T08:53:20Z",
    "time-rfc3339\n2025-10-09 10:53:20.123456789+02:00[Europe/Paris]",
    "http-message\n;created=1760000000;keyid=\"k\"\n",
    "http-message\n;created=1760000000;expires=1760000100;alg=\"hmac-sha256\";tag=\"t\"\nsha-256=:$d:",
    "http-message\n;nonce=\"a;b)\\\"\"\nmd5=:AA==:, sha-512=:$e:",
    "http-message-raw\nweir=(\"@method\" \"@authority\" \"@path\" \"x-a\");created=1760000000\nweir=:AAAA:",
    "http-message-raw\na=(\"@query-param\";name=\"x\" \"@query\" \"@target-uri\"), b=()\na=:AA==:, b=:AA==:",
    "jwt\n{\"iss\":\"the-api_key\",\"exp\":1760000300,\"nbf\":1760000000,\"sha256\":\"$d\"}",
    "jwt\n{\"iss\":[\"x\",\"the-api_key\"],\"exp\":1760000300.5,\"iat\":1759999990,\"sha256\":\"$d\"}",
];

/// Overrides of a provider as in a configuration.
const OVERRIDES: &[&str] = &[
    "[signature]\nalgorithm = 'hmac-sha1'\nencoding = 'base64'\nprefix = ''",
    "[signature]\nprefix = ''\nseparator = ';'\npair = 'h1'\nmessage = '{timestamp}:{body}'\n\
     timestamp = { from = 'pair:ts', unit = 'millis', tolerance = '5s' }",
    "[signature]\nfrom = 'headers:X-Sig-*'\nkey = 'base64'\nrequire = { X-Sig-Version = '1' }",
    "[signature]\nmessage = '{method}{url:any-port}{form-sorted:dedupe}{header:X-Id?}{/a/b}'",
    "type = ['/event', '{header:X-Resource}.{/action}']\nid = 'header:X-Id'\n\
     dedup = ['/a | form:b', 'body:/c']\nfan_out = ['/entry/*/changes', '', 'lines']",
    "tolerance = '10m'\nbody_limit = '2MiB'\non_redelivery = 'requeue'\nfailure_status = 403\n\
     [categories]\n'a.*' = 'created'\n[acknowledge]\nstatus = 202\nbody = ''",
];

/// Expressions, some with a body of their own.
const EXPRESSIONS: &[&str] = &[
    "event.body.amount > 1000 && event.headers[\"x-mode\"] == \"live\"\n---\n{\"amount\":1500}",
    "event.source == 'github' && event.type.startsWith('pu')",
    "has(event.body.a) && event.body.a.exists(x, has(x.b)) || !(event.query == {})",
    "{'text': event.body.title + ': ' + string(event.body.n), 'l': [1, 2.5, null].map(x, x)}",
    "event.body.name.matches('^[a-z]+$') ? 1 : -1\n---\n{\"name\":\"ada\"}",
    "event.body.split(',').filter(p, p.trim() != '').join('-').substring(1, 3)",
    "int('7') % 3 == 1 && double(2) / 3.0 < 1.0 && 'a' in ['a', \"\"\"b\"\"\", r'\\c']",
    "event.body[0].x.y['z']\n---\n[{\"x\":{\"y\":{\"z\":1}}}]",
];
