//! `weir probe`: each step fails in its own way, with advice and an exit code.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use weir_testing::hub::{SECRET, TestHub, weir};

/// The private key of a server, and the certificates of it and its authority.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    // The certificate ends in nine days.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let days = i64::try_from(now.as_secs() / 86_400).unwrap();
    let date = |day: i64| {
        let at = jiff::Timestamp::from_second(day * 86_400).unwrap().to_string();
        let part = |from, to| at[from..to].parse::<u8>().unwrap();
        rcgen::date_time_ymd(at[..4].parse().unwrap(), part(5, 7), part(8, 10))
    };
    (params.not_before, params.not_after) = (date(days - 1), date(days + 10));
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
}

fn probe(args: &[&str]) -> Output {
    weir().arg("probe").args(args).output().unwrap()
}

/// The exit code, the JSON, and the last step.
fn probed(args: &[&str]) -> (i32, Value, Value) {
    let out = probe(&[args, &["--json"]].concat());
    let said = String::from_utf8_lossy(&out.stdout);
    let value: Value = serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&out.stderr)));
    let last = value["steps"].as_array().unwrap().last().unwrap().clone();
    (out.status.code().unwrap(), value, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_event_is_accepted_or_refused_with_advice() {
    let hub = TestHub::new().github().start().await;
    let url = format!("http://{}/webhook/github", hub.ingress);
    let (code, found, _) = probed(&[&url, "--provider", "github", "--secret", SECRET]);
    assert_eq!((code, &found["accepted"], &found["status"]), (0, &true.into(), &200.into()));
    let steps: Vec<_> = found["steps"].as_array().unwrap().iter().map(|s| &s["step"]).collect();
    assert_eq!(steps, ["dns", "guard", "tcp", "http"]);
    assert!(found["steps"][3]["ms"].as_f64().unwrap() > 0.0);
    assert_eq!(found["steps"][1]["state"], "warning", "a destination needs allow");
    assert!(found["steps"][1]["todo"].as_str().unwrap().contains("@private"));
    assert_eq!(hub.api("/api/v1/events?source=github").await["items"].as_array().unwrap().len(), 1);

    let (code, found, last) = probed(&[&url, "--provider", "github", "--secret", "another secret"]);
    assert_eq!((code, &found["reachable"], &found["accepted"]), (1, &true.into(), &false.into()));
    assert!(last["todo"].as_str().unwrap().contains("compare the secret"), "{last}");
    let elsewhere = format!("http://{}/webhook/none", hub.ingress);
    let (code, _, last) = probed(&[&elsewhere, "--provider", "github", "--secret", SECRET]);
    assert!(code == 1 && last["todo"].as_str().unwrap().contains("path"), "{last}");
    let (code, found, _) = probed(&[&url, "--allow", "@private"]);
    assert_eq!(
        (code, &found["status"], &found["steps"][1]["state"]),
        (0, &405.into(), &"ok".into())
    );

    let text = probe(&[&url, "--provider", "github", "--secret", "another secret"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("not accepted") && text.contains("http: "), "{text}");
    assert!(!text.contains("another secret") && !text.contains("/webhook/"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_judged_and_its_end_is_told() {
    let hub = TestHub::new().github();
    certificates(hub.folder.path());
    let hub = hub.config("[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"").start().await;
    let ca = hub.folder.path().join("ca.pem").display().to_string();
    let url = format!("https://localhost:{}/webhook/github", hub.ingress.port());
    let (code, _, last) = probed(&[&url]);
    assert_eq!((code, &last["step"], &last["state"]), (3, &"tls".into(), &"failed".into()));
    assert!(last["todo"].as_str().unwrap().contains("--ca FILE"), "{last}");
    assert!(last["found"].as_str().unwrap().contains("it ends 20"), "{last}");

    let (code, found, _) = probed(&[&url, "--ca", &ca, "--provider", "github", "--secret", SECRET]);
    assert_eq!((code, &found["accepted"]), (0, &true.into()), "{found}");
    let tls = &found["steps"][3];
    assert_eq!((&tls["step"], &tls["state"]), (&"tls".into(), &"warning".into()), "{tls}");
    assert!(tls["todo"].as_str().unwrap().contains("ends in 9d"), "{tls}");
    assert!(found["certificate_expires"].as_str().unwrap().starts_with("20"));
    let by_address = format!("https://127.0.0.1:{}/", hub.ingress.port());
    let (code, _, last) = probed(&[&by_address, "--ca", &ca]);
    assert!(code == 3 && last["todo"].as_str().unwrap().contains("another name"), "{last}");
}

#[test]
fn what_is_not_reachable_says_where_it_stops() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, last) = probed(&[&format!("http://{free}/")]);
    assert_eq!((code, &last["step"]), (3, &"tcp".into()));
    assert!(last["todo"].as_str().unwrap().contains("nothing listens"), "{last}");

    let (code, _, last) = probed(&["http://no-such-host.invalid/"]);
    assert_eq!((code, &last["step"]), (3, &"dns".into()));
    let (code, found, last) = probed(&["http://169.254.169.254/latest/meta-data/?token=s3cr3t"]);
    assert_eq!((code, &last["step"], &last["state"]), (3, &"guard".into(), &"failed".into()));
    assert!(last["found"].as_str().unwrap().contains("cloud metadata"), "{last}");
    assert!(!found.to_string().contains("s3cr3t"), "{found}");

    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    let held = std::thread::spawn(move || {
        let (mut stream, _) = mute.accept().unwrap();
        let mut all = Vec::new();
        // Ends when the probe gives up.
        let _ended = stream.read_to_end(&mut all);
        all
    });
    let (code, _, last) = probed(&[&format!("http://{address}/"), "--timeout", "300ms"]);
    assert_eq!((code, &last["step"], &last["state"]), (3, &"http".into(), &"failed".into()));
    assert!(last["todo"].as_str().unwrap().contains("does not answer"), "{last}");
    assert!(held.join().unwrap().starts_with(b"GET / HTTP/1.1\r\n"));

    for bad in ["ops.example.com", "ftp://h/", "http://u:pass@h/"] {
        let out = probe(&[bad]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && !said.contains("pass@"), "{said}");
    }
}
