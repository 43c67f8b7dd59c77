//! The projects that `weir new` writes: for each language a folder of files below `projects/`, and
//! the files in `shared/` that several of them need. Pure: nothing is read or written here.
//!
//! The prelude of JavaScript and its build are those of `examples/javascript`.
//!
//! A text has placeholders, such as `%name%`. `build.part.sh` of a language is put into the
//! `build.sh` that all of them share.

mod language;

use include_dir::{Dir, File, include_dir};
use weir_core::name::HandlerName;

pub(crate) use language::{LANGUAGES, Language, Tool};

static PROJECTS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/templates/projects");

const CONTRACT: &str = include_str!("../../../wit/handler.wit");
const BUILD: &str = include_str!("shared/build.sh");
const COMPONENT_SETTINGS: &str = include_str!("shared/component.toml");
const COMMAND_SETTINGS: &str = include_str!("shared/command.toml");
const SAMPLES: [(&str, &str); 3] = [
    ("samples/closed.json", include_str!("shared/samples/closed.json")),
    ("samples/opened.json", include_str!("shared/samples/opened.json")),
    ("samples/urgent.json", include_str!("shared/samples/urgent.json")),
];
const JAVASCRIPT: [(&str, &str); 3] = [
    ("build.mjs", include_str!("../../../examples/javascript/build.mjs")),
    ("wit/handler.d.ts", include_str!("shared/handler.d.ts")),
    ("weir.js", include_str!("../../../examples/javascript/weir.js")),
];
/// The custom section that makes a core module a handler for `wit/handler.wit`.
const COMPONENT_TYPE: &[u8] = include_bytes!("shared/component-type.section");

/// The part of `build.sh` that a language has of its own.
const BUILD_PART: &str = "build.part.sh";

/// A file of a new project.
pub(crate) struct ProjectFile {
    /// Below the project's folder.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    pub(crate) executable: bool,
}

/// All files of a new project, by path. `hub` is the hub's folder as the project sees it, which has
/// the configuration and the modules.
pub(crate) fn project(language: &Language, name: &HandlerName, hub: &str) -> Vec<ProjectFile> {
    let own = files_below(&PROJECTS, language.name);
    let part = own.iter().find(|(path, _)| path == BUILD_PART).map_or("", |(_, text)| text.trim());
    let fill = |text: &str| {
        text.replace("%build%", part)
            .replace("%name%", name.as_str())
            .replace("%crate%", &name.as_str().replace('-', "_"))
            .replace("%contract%", contract_version())
            .replace("%hub%", hub)
    };
    let settings = if language.is_command { COMMAND_SETTINGS } else { COMPONENT_SETTINGS };
    let settings_file = format!("{name}.toml");
    let mut texts = vec![("build.sh", BUILD), (&*settings_file, settings)];
    texts.extend(SAMPLES);
    if !language.is_command {
        texts.push(("wit/handler.wit", CONTRACT));
    }
    if matches!(language.name, "javascript" | "typescript") {
        texts.extend(JAVASCRIPT);
    }
    texts.extend(
        own.iter().filter(|(path, _)| path != BUILD_PART).map(|(path, text)| (&**path, *text)),
    );
    let file = |(path, text): &(&str, &str)| ProjectFile {
        path: (*path).to_owned(),
        content: fill(text).into_bytes(),
        executable: path.ends_with(".sh"),
    };
    let mut files: Vec<_> = texts.iter().map(file).collect();
    if matches!(language.name, "c" | "go") {
        let path = "wit/component-type.section".to_owned();
        files.push(ProjectFile { path, content: COMPONENT_TYPE.to_vec(), executable: false });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The texts below a folder, with their paths from there.
fn files_below(all: &Dir<'static>, folder: &str) -> Vec<(String, &'static str)> {
    fn collect(dir: &Dir<'static>, found: &mut Vec<&'static File<'static>>) {
        found.extend(dir.files());
        dir.dirs().for_each(|dir| collect(dir, found));
    }
    let mut files: Vec<&'static File<'static>> = Vec::new();
    if let Some(dir) = all.get_dir(folder) {
        collect(dir, &mut files);
    }
    let mut texts = Vec::new();
    for file in files {
        let path = file.path().strip_prefix(folder).ok().and_then(|path| path.to_str());
        if let (Some(path), Some(text)) = (path, file.contents_utf8()) {
            texts.push((path.to_owned(), text));
        }
    }
    texts
}

/// The version of the contract, such as `0.1.0`.
fn contract_version() -> &'static str {
    let package = CONTRACT.lines().find_map(|line| line.strip_prefix("package weir:handler@"));
    package.map_or("", |version| version.trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn files(language: &Language) -> Vec<ProjectFile> {
        project(language, &HandlerName::new("my-rule").unwrap(), "..")
    }

    fn text(file: &ProjectFile) -> &str {
        std::str::from_utf8(&file.content).unwrap_or_default()
    }

    fn has(files: &[ProjectFile], path: &str) -> bool {
        files.iter().any(|file| file.path == path)
    }

    #[test]
    fn every_project_has_its_parts_and_no_placeholder() {
        let all = ["README.md", ".gitignore", "build.sh", "my-rule.toml", "samples/opened.json"];
        for language in LANGUAGES {
            let files = files(language);
            for path in all {
                assert!(has(&files, path), "{}: {path}", language.name);
            }
            assert_eq!(has(&files, "wit/handler.wit"), !language.is_command, "{}", language.name);
            assert!(!has(&files, BUILD_PART));
            let names: BTreeSet<_> = files.iter().map(|file| &file.path).collect();
            assert_eq!(names.len(), files.len(), "{}: a file stands in it twice", language.name);
            for file in &files {
                for placeholder in ["%build%", "%name%", "%crate%", "%contract%", "%hub%"] {
                    assert!(!text(file).contains(placeholder), "{}: {placeholder}", file.path);
                }
            }
        }
    }

    #[test]
    fn readme_of_a_project_has_about_ten_lines() {
        for language in LANGUAGES {
            let files = files(language);
            let readme = files.iter().find(|file| file.path == "README.md").unwrap();
            let lines = text(readme).lines().filter(|line| !line.is_empty()).count();
            assert!(lines <= 12, "{}: {lines}", language.name);
        }
    }

    /// The interfaces of the contract with their functions.
    fn contract() -> Vec<(&'static str, Vec<&'static str>)> {
        let mut interfaces = Vec::new();
        for line in CONTRACT.lines().map(str::trim).take_while(|line| !line.starts_with("world ")) {
            if let Some(name) = line.strip_prefix("interface ") {
                interfaces.push((name.trim_end_matches(" {"), Vec::new()));
            } else if let (Some((name, _)), Some((_, functions))) =
                (line.split_once(": func("), interfaces.last_mut())
            {
                functions.push(name.trim_start_matches('%'));
            }
        }
        interfaces
    }

    fn camel_case(name: &str) -> String {
        let mut parts = name.split('-');
        let first = parts.next().unwrap_or_default().to_owned();
        let upper = |part: &str| part[..1].to_uppercase() + &part[1..];
        parts.fold(first, |name, part| name + &upper(part))
    }

    fn of_project(language: &str, path: &str) -> &'static str {
        let file = PROJECTS.get_file(format!("{language}/{path}")).unwrap();
        file.contents_utf8().unwrap()
    }

    /// Each message says what to change: the bindings follow the contract by hand, but for C, whose
    /// are made by `.ci/guests bindings`.
    #[test]
    fn bindings_have_every_function_of_the_contract() {
        let (types, go) = (JAVASCRIPT[1].1, of_project("go", "weir/abi.go"));
        let c = of_project("c", "bindings/handler.c");
        let mut functions = 0;
        for (interface, names) in contract() {
            for name in names {
                functions += 1;
                let module = format!("weir:handler/{interface}@%contract%");
                let declared = format!("declare module 'weir:handler/{interface}' {{");
                let (_, of_types) = types.split_once(&declared).unwrap_or_default();
                let of_types = of_types.split("declare module").next().unwrap_or_default();
                let declared = format!("export function {}(", camel_case(name));
                assert!(of_types.contains(&declared), "handler.d.ts lacks {interface}.{name}");
                let import = format!("//go:wasmimport {module} {name}\n");
                assert!(go.contains(&import), "weir/abi.go of Go lacks {interface}.{name}");
                let import =
                    format!("__import_module__(\"{module}\"), __import_name__(\"{name}\")");
                assert!(c.contains(&import), "the bindings of C lack {interface}.{name}");
            }
        }
        assert!(functions > 30, "{functions}");
    }
}
