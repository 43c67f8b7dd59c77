//! `weir new`: projects in every language, what they refuse, and their unit tests. That they build
//! and run in the hub is tested by `.ci/guests`, which installs their compilers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use weir_testing::hub::weir;

fn run(folder: &Path, args: &[&str]) -> Output {
    weir().args(args).current_dir(folder).output().unwrap()
}

fn value(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The languages of `weir new --list`.
fn languages() -> Vec<Value> {
    let out = run(Path::new("/"), &["--json", "new", "--list"]);
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_language_has_a_project_with_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let languages = languages();
    assert_eq!(languages.len(), 8);
    for language in languages {
        let lang = language["language"].as_str().unwrap();
        assert!(!language["tools"].as_array().unwrap().is_empty(), "{language}");
        let said = value(&run(
            folder.path(),
            &["--json", "new", "--lang", lang, "my-rule", "--dir", lang],
        ));
        assert_eq!((&said["language"], &said["build"]), (&lang.into(), &"./build.sh".into()));
        let project = folder.path().join(lang);
        for file in said["files"].as_array().unwrap() {
            assert!(project.join(file.as_str().unwrap()).is_file(), "{lang}: {file}");
        }
        let samples = fs::read_dir(project.join("samples")).unwrap();
        assert_eq!(samples.count(), 3, "{lang}");
        let settings = fs::read_to_string(project.join("my-rule.toml")).unwrap();
        assert!(settings.contains("destinations = [\"inbox\"]"), "{settings}");
    }
    let table = run(folder.path(), &["new", "--list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("MISSING HERE"));
}

#[test]
fn project_is_refused_in_a_folder_that_is_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/notes"), "x").unwrap();
    for (args, code, reason) in [
        (&["new", "--lang", "js", "mine"][..], 1, "mine exists already and is not empty"),
        (&["new", "--lang", "js", "My_Rule"], 2, "; try my-rule"),
        (&["new", "--lang", "cobol", "mine"], 2, "cobol"),
        (&["new", "mine"], 2, "--lang"),
        (&["new", "--lang", "js"], 2, "NAME"),
    ] {
        let out = run(folder.path(), args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(reason), "{args:?}: {said}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    fs::remove_file(folder.path().join("mine/notes")).unwrap();
    assert!(run(folder.path(), &["new", "--lang", "js", "mine"]).status.success());
    assert!(folder.path().join("mine/handler.js").exists(), "an empty folder is used");
}

/// A folder of programs that has these and no other.
fn only(programs: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in programs {
        let found = ["/bin", "/usr/bin"].map(|bin| Path::new(bin).join(program));
        let found = found.iter().find(|path| path.exists()).unwrap();
        symlink(found, folder.path().join(program)).unwrap();
    }
    folder
}

#[test]
fn build_names_a_missing_tool_and_where_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let few = only(&["dirname", "mkdir"]);
    for language in languages() {
        let lang = language["language"].as_str().unwrap();
        value(&run(folder.path(), &["--json", "new", "--lang", lang, "a", "--dir", lang]));
        let script = folder.path().join(lang).join("build.sh");
        let out = Command::new(script).env("PATH", few.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{lang}: {said}");
        assert!(said.contains(" is missing; get it with: "), "{lang}: {said}");
        assert!(!folder.path().join("plugins").exists(), "{lang}");
    }
}

#[test]
fn unit_tests_of_projects_run_without_wasm() {
    let folder = tempfile::tempdir().unwrap();
    for (lang, program, args) in [
        ("python", "python3", &["-m", "unittest"][..]),
        ("js", "node", &["--test"]),
        ("c", "./test.sh", &[]),
    ] {
        value(&run(folder.path(), &["--json", "new", "--lang", lang, "a", "--dir", lang]));
        let out = Command::new(program).args(args).current_dir(folder.path().join(lang)).output();
        let out = out.unwrap_or_else(|error| panic!("{program}: {error}"));
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{lang}: {said}{}", String::from_utf8_lossy(&out.stdout));
    }
}
