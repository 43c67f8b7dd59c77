//! The ready-made set-ups under `examples`: each is one that a hub takes as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::launch::weir;

fn setups() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/setups");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let setups: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(setups.len() >= 5, "{setups:?}");
    setups
}

/// The variables that a file takes secrets from.
fn variables(text: &str) -> Vec<&str> {
    let after = text.split("{ env = \"").skip(1);
    after.map(|rest| rest.split('"').next().unwrap()).collect()
}

/// A secret of the form that the sender's are of.
fn secret(variable: &str) -> &'static str {
    match variable {
        "ADYEN_HMAC_KEY" => "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
        "DISCORD_PUBLIC_KEY" => "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "PADDLE_SECRET_KEY" => "pdl_ntfset_01hxyz_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u",
        _ => "whsec_8fXq2mV7sKd4LrT9wZp3NbYc6HjGtR1u",
    }
}

fn in_setup(folder: &Path) -> Command {
    let mut command = weir();
    let text = fs::read_to_string(folder.join("weir.toml")).unwrap();
    let secrets = variables(&text).into_iter().map(|name| (name.to_owned(), secret(name)));
    command.current_dir(folder).envs(secrets);
    command
}

#[test]
fn every_set_up_is_one_that_a_hub_takes_and_none_is_without_a_line_in_the_list() {
    let list = setups()[0].parent().unwrap().join("README.md");
    let list = fs::read_to_string(list).unwrap();
    for folder in setups() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("({name}/weir.toml)")), "{name} is not in the list");
        let out = in_setup(&folder).args(["check", "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let complaints = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{name}: {said}{complaints}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["warnings"], serde_json::json!([]), "{name}");
    }
}

#[test]
fn the_provider_file_among_them_proves_itself() {
    let mine = setups().into_iter().find(|folder| folder.ends_with("own-provider")).unwrap();
    let out = in_setup(&mine).args(["providers", "test", "providers/acme.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("1 genuine requests accepted, 2 others refused"), "{said}");
}
