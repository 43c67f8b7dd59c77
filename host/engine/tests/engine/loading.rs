//! Loading: valid and invalid modules, descriptions, and the cache of compiled code.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use weir_core::bounds::MODULE_BYTES_MAX;
use weir_core::delivery::Outcome;
use weir_engine::{Engine, LoadError, ModuleKind, Options, Version};

use crate::support::{Try, engine, guest, module};

fn refused(bytes: &[u8]) -> LoadError {
    engine().load(bytes).expect_err("it loads")
}

fn refused_text(wat: &str) -> LoadError {
    refused(&wat::parse_str(wat).unwrap())
}

#[test]
fn file_that_is_not_a_handler_is_refused() {
    assert!(matches!(refused(b""), LoadError::Empty));
    assert!(matches!(refused(b"#!/bin/sh\n"), LoadError::NotWasm));
    assert!(matches!(refused(b"\0asm\x02\0\0\0"), LoadError::NotWasm));
    assert!(matches!(refused(&vec![0; MODULE_BYTES_MAX + 1]), LoadError::TooLarge(_)));
    let damaged = &guest("noop")[..9_000];
    assert!(matches!(refused(damaged), LoadError::Compile { kind: ModuleKind::Component, .. }));
    assert!(matches!(refused_text("(component)"), LoadError::MissingExport("describe")));
    let half = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "describe") (canon lift (core func $i "f"))))"#;
    assert!(matches!(refused_text(half), LoadError::MissingExport("handle")));
    let wrong = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "describe") (canon lift (core func $i "f")))
        (func (export "handle") (canon lift (core func $i "f"))))"#;
    assert!(matches!(refused_text(wrong), LoadError::Link { kind: ModuleKind::Component, .. }));
}

#[test]
fn module_that_is_not_a_command_is_refused() {
    assert!(matches!(refused_text("(module)"), LoadError::NotACommand("_start function")));
    let no_memory = r#"(module (func (export "_start")))"#;
    assert!(matches!(refused_text(no_memory), LoadError::NotACommand("memory")));
    let foreign = r#"(module (import "env" "exec" (func)) (memory (export "memory") 1)
        (func (export "_start")))"#;
    let LoadError::ForeignImport(import) = refused_text(foreign) else { panic!() };
    assert_eq!(import, "env.exec");
    let unknown = r#"(module (import "wasi_snapshot_preview1" "exec" (func)) (memory (export "memory") 1)
        (func (export "_start")))"#;
    assert!(matches!(refused_text(unknown), LoadError::Link { kind: ModuleKind::Command, .. }));
}

#[test]
fn newer_contract_is_refused_before_linking() {
    assert_eq!(
        refused(&guest("contract-0-1-2")).to_string(),
        "needs contract 0.1.2 (state.get-bytes) but this hub serves 0.1.1; update weir, or build \
         the handler with this hub's WIT (weir new)"
    );
    assert!(
        refused(&guest("contract-0-2-0"))
            .to_string()
            .starts_with("needs contract 0.2.0 but this hub serves 0.1.1; update weir")
    );
    let foreign = r#"(component (import "acme:db/sql@1.0.0" (instance (export "q" (func)))))"#;
    assert_eq!(
        refused_text(foreign).to_string(),
        "imports acme:db/sql@1.0.0, which no handler contract offers"
    );
}

#[test]
fn module_has_a_kind_and_a_version() {
    let noop = module("noop");
    assert_eq!(noop.kind(), ModuleKind::Component);
    assert_eq!(noop.version(), Version::of(&guest("noop")));
    assert_eq!(noop.version().to_string(), noop.version().to_hex()[..12]);
    assert_ne!(noop.version(), module("probe").version());
    let command = module("command");
    assert_eq!(command.kind(), ModuleKind::Command);
}

#[tokio::test]
async fn module_describes_itself() {
    let manifest = engine().describe(&module("probe")).await.unwrap();
    assert!(manifest.about.unwrap().starts_with("Runs the steps"));
    let patterns = |m: &weir_engine::Description| {
        m.subscriptions.iter().map(|p| p.as_str().to_owned()).collect::<Vec<_>>()
    };
    let noop = engine().describe(&module("noop")).await.unwrap();
    assert_eq!(patterns(&noop), ["bench:*", "github:*"]);
    let command = engine().describe(&module("command")).await.unwrap();
    assert_eq!(command, weir_engine::Description::default());
}

#[tokio::test]
async fn describe_that_traps_or_hangs_fails_with_a_reason() {
    let error = engine().describe(&module("describe-traps")).await.unwrap_err();
    assert!(error.to_string().starts_with("describe failed: "), "{error}");
    let error = engine().describe(&module("describe-loops")).await.unwrap_err();
    assert!(error.to_string().contains("limit of 1s"), "{error}");
}

fn cached(dir: &Path, key: u8) -> Engine {
    let options =
        Options { cache_dir: Some(dir.into()), cache_key: [key; 32], ..Options::default() };
    Engine::new(options).unwrap()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect()
}

#[tokio::test]
async fn compiled_code_is_cached() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("code");
    cached(&dir, 1).load(&guest("noop")).unwrap();
    cached(&dir, 1).load(&guest("command")).unwrap();
    assert_eq!(entries(&dir).len(), 2);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let written: Vec<_> =
        entries(&dir).iter().map(|p| fs::metadata(p).unwrap().modified().unwrap()).collect();

    let engine = cached(&dir, 1);
    let noop = engine.load(&guest("noop")).unwrap();
    engine.load(&guest("command")).unwrap();
    let now: Vec<_> =
        entries(&dir).iter().map(|p| fs::metadata(p).unwrap().modified().unwrap()).collect();
    assert_eq!(written, now, "nothing was compiled again");
    assert_eq!(Try::of(noop, "").run().await.outcome(), Outcome::Ok);
}

#[tokio::test]
async fn damaged_foreign_or_swapped_code_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let right = {
        cached(dir.path(), 1).load(&guest("noop")).unwrap();
        fs::read(&entries(dir.path())[0]).unwrap()
    };
    let entry = entries(dir.path()).remove(0);
    cached(dir.path(), 1).load(&guest("fresh")).unwrap();
    let other = entries(dir.path()).into_iter().find(|path| *path != entry).unwrap();

    let changed = |at: usize| {
        let mut changed = right.clone();
        changed[at] ^= 1;
        changed
    };
    let (in_code, in_mac) = (changed(5_000), changed(right.len() - 1));
    let foreign = {
        let dir = tempfile::tempdir().unwrap();
        cached(dir.path(), 2).load(&guest("noop")).unwrap();
        fs::read(&entries(dir.path())[0]).unwrap()
    };
    let swapped = fs::read(other).unwrap();
    for bad in
        [in_code, in_mac, foreign, swapped, right[..20].to_vec(), right[..5_000].to_vec(), vec![]]
    {
        fs::remove_file(&entry).unwrap();
        fs::write(&entry, &bad).unwrap();
        let noop = cached(dir.path(), 1).load(&guest("noop")).unwrap();
        assert_eq!(Try::of(noop, "").run().await.outcome(), Outcome::Ok);
        assert_eq!(fs::read(&entry).unwrap(), right, "it was written anew");
    }
}

#[test]
fn code_cache_is_bounded_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let padded = |n: u8| [guest("noop"), vec![0, 3, 1, b'x', n]].concat();
    let size = |dir: &Path| -> u64 {
        entries(dir).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    };
    let module = cached(dir.path(), 1).load(&padded(0)).unwrap();
    let one = size(dir.path());
    assert!(module.code_bytes() as u64 <= one && module.code_bytes() > 0);
    let cache_bytes = usize::try_from(2 * one + one / 2).unwrap();
    let limited = || {
        let cache_dir = Some(dir.path().into());
        Engine::new(Options { cache_dir, cache_bytes, ..Options::default() }).unwrap()
    };
    let engine = limited();
    for n in 1..6 {
        engine.load(&padded(n)).unwrap();
        assert!(size(dir.path()) <= cache_bytes as u64);
        let newest = Version::of(&padded(n)).to_hex();
        let kept = |path: &PathBuf| path.to_string_lossy().contains(&newest);
        assert!(entries(dir.path()).iter().any(kept));
    }
    cached(dir.path(), 1).load(&padded(9)).unwrap();
    let _lowered = limited();
    assert!(size(dir.path()) <= cache_bytes as u64, "also when the limit is lowered");
}
