//! `weir demo`, the first command of the README.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use weir_testing::hub::weir;

/// The starter handlers with their sidecars. Uses fresh builds if `WEIR_TEST_HANDLERS` names a
/// folder that has them.
fn starters(into: &Path) {
    std::fs::create_dir(into).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    for file in std::fs::read_dir(committed).unwrap() {
        let file = file.unwrap();
        let built = std::env::var_os("WEIR_TEST_HANDLERS")
            .map(|dir| Path::new(&dir).join(file.file_name()));
        let from = built.filter(|path| path.exists()).unwrap_or_else(|| file.path());
        std::fs::copy(from, into.join(file.file_name())).unwrap();
    }
}

#[test]
fn the_demo_shows_the_path_for_six_providers_and_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("starters");
    starters(&plugins);
    let plugins = plugins.display().to_string();
    shows_the_whole_path(folder.path(), &["--plugins", &plugins]);
}

#[test]
fn the_demo_needs_only_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let all = shows_the_whole_path(folder.path(), &[]);
    assert!(
        all.contains("handlers  github-chat, log-everything, payments\n          from /"),
        "{all}"
    );
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left here");
    let data = folder.path().join("kept");
    shows_the_whole_path(folder.path(), &["--data", data.to_str().unwrap()]);
    assert!(data.join("plugins/payments.wasm").exists());
    // An empty plugins folder counts as missing.
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    shows_the_whole_path(folder.path(), &[]);
}

#[test]
fn development_mode_creates_the_plugins_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = weir()
        .arg("serve")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    for line in BufReader::new(hub.stderr.take().unwrap()).lines() {
        said.push_str(&line.unwrap());
        said.push('\n');
        if said.contains("with the starter handlers") {
            break;
        }
    }
    hub.kill().unwrap();
    hub.wait().unwrap();
    assert!(said.contains("/plugins") && said.contains("github-chat"), "{said}");
    assert!(folder.path().join("plugins/github-chat.wasm").exists());
}

/// Runs the demo in a folder until it waits for Ctrl-C. Returns its output.
fn shows_the_whole_path(folder: &Path, args: &[&str]) -> String {
    let mut demo = weir()
        .args(["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let last = line.contains("Press Ctrl-C");
        said.push(line);
        if last {
            break;
        }
    }
    let running = demo.try_wait().unwrap().is_none();
    demo.kill().unwrap();
    demo.wait().unwrap();
    let all = said.join("\n");
    for provider in ["github", "stripe", "slack", "shopify", "twilio", "sendgrid"] {
        let at = said.iter().position(|line| line.starts_with(provider));
        let told = &said[at.unwrap_or_else(|| panic!("{provider} is missing:\n{all}")) + 1];
        for word in ["verified", "stored evt_", "handled by", "effect: "] {
            let batch = provider == "sendgrid" && told.contains("stored 3 events");
            assert!(told.contains(word) || batch, "{provider} was not {word}:\n{all}");
        }
        assert!(!told.contains("no handler matched"), "{all}");
    }
    assert!(all.contains("3 failed payments"), "the third failure raises an alert:\n{all}");
    assert!(running, "it must stay up:\n{all}");
    assert!(all.contains("/webhook/") && all.contains("127.0.0.1:"), "{all}");
    assert!(!all.contains('?'), "every field that a handler reads is there:\n{all}");
    all
}
