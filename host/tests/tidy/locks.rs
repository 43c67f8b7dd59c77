//! The lock file of the fuzz targets, which are a workspace of their own.

use toml::Table;

/// The dependencies of a manifest that a lock file does not list for the package `name`. Cargo
/// refuses such a file when it is asked not to change it.
pub(crate) fn not_locked(name: &str, manifest: &str, lock: &str) -> Vec<String> {
    let manifest: Table = manifest.parse().expect("a manifest");
    let lock: Table = lock.parse().expect("a lock file");
    let locked = lock["package"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"].as_str() == Some(name))
        .and_then(|package| package["dependencies"].as_array())
        .unwrap_or_else(|| panic!("the lock file has the package {name} with dependencies"));
    let locked: Vec<&str> =
        locked.iter().filter_map(|entry| entry.as_str()?.split(' ').next()).collect();
    let wanted = manifest["dependencies"].as_table().expect("the manifest has dependencies");
    wanted
        .keys()
        .filter(|key| !locked.contains(&key.as_str()))
        .map(|key| {
            format!(
                "host/fuzz/Cargo.lock: {name} lacks {key}; run: \
                 cargo metadata --manifest-path host/fuzz/Cargo.toml >/dev/null"
            )
        })
        .collect()
}

#[test]
fn a_dependency_that_is_not_locked_is_found() {
    let manifest = "[dependencies]\ncel = \"1\"\nserde = \"1\"\n";
    let lock = "[[package]]\nname = \"weir-core\"\ndependencies = [\"serde 1.0.1\"]\n";
    let found = not_locked("weir-core", manifest, lock);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("lacks cel"), "{found:?}");
}
