//! Directions of imports between the folders of a package, and how many modules lie loose in
//! `host/src`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::files::SourceFile;

/// Files beside `lib.rs` and `main.rs` in `host/src`.
const LOOSE: usize = 10;

/// The sources of the packages.
const PACKAGES: [&str; 4] = ["host/core/src/", "host/store/src/", "host/engine/src/", "host/src/"];

static CRATE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bcrate::((?:[a-z_0-9]+::)*[a-z_0-9]+)").expect("a pattern"));
static SUPER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b((?:super::)+)((?:[a-z_0-9]+::)*[a-z_0-9]+)").expect("a pattern")
});

pub(crate) fn too_many_loose_modules(files: &[SourceFile]) -> Vec<String> {
    let loose: Vec<_> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("host/src/"))
        .filter(|path| path.ends_with(".rs") && !path.contains('/'))
        .filter(|path| *path != "lib.rs" && *path != "main.rs")
        .collect();
    if loose.len() <= LOOSE {
        return Vec::new();
    }
    vec![format!(
        "host/src has {} loose modules, more than {LOOSE}: {}",
        loose.len(),
        loose.join(" ")
    )]
}

/// Finds circles of imports between modules that lie beside each other, in each folder of each
/// package.
pub(crate) fn circles(files: &[SourceFile]) -> Vec<String> {
    let mut found = Vec::new();
    for package in PACKAGES {
        let imports = imports_of(package, files);
        let folders: BTreeSet<Vec<String>> = imports
            .iter()
            .flat_map(|(from, _)| (0..from.len()).map(|depth| from[..depth].to_vec()))
            .collect();
        for folder in folders {
            for circle in circles_in(&folder, &imports, files, package) {
                let place = format!("{package}{}", folder.join("/"));
                found.push(format!("{place}: {}", circle.join(" <-> ")));
            }
        }
    }
    found
}

/// Each import of a package: the module that imports and the path that it names.
fn imports_of(package: &str, files: &[SourceFile]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut imports = Vec::new();
    for file in files {
        let Some(path) = file.path.strip_prefix(package) else { continue };
        if !file.is_rust() || file.is_test_code() {
            continue;
        }
        let module = module_of(path);
        let product = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: String = product
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        for named in CRATE.captures_iter(&code) {
            imports.push((module.clone(), parts(&named[1])));
        }
        for named in SUPER.captures_iter(&code) {
            let up = named[1].matches("super::").count();
            let Some(kept) = module.len().checked_sub(up) else { continue };
            imports.push((module.clone(), [&module[..kept], &parts(&named[2])].concat()));
        }
    }
    imports
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" || path == "main" {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

fn parts(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

/// Circles between the children of one folder. At the top these are its folders and files, deeper
/// only its folders: files that lie in one folder belong together and may know each other.
fn circles_in(
    folder: &[String],
    imports: &[(Vec<String>, Vec<String>)],
    files: &[SourceFile],
    package: &str,
) -> Vec<Vec<String>> {
    let is_node = |name: &str| {
        let path = [folder, &[name.to_owned()]].concat().join("/");
        let is_folder =
            files.iter().any(|file| file.path.starts_with(&format!("{package}{path}/")));
        let is_file = files.iter().any(|file| file.path == format!("{package}{path}.rs"));
        is_folder || (folder.is_empty() && is_file)
    };
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in imports {
        if from.len() <= folder.len() || to.len() <= folder.len() {
            continue;
        }
        if from[..folder.len()] != *folder || to[..folder.len()] != *folder {
            continue;
        }
        let (from, to) = (&from[folder.len()], &to[folder.len()]);
        if from != to && is_node(from) && is_node(to) {
            edges.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    let reach: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|from| (from, reachable(from, &edges))).collect();
    let mut circles = BTreeSet::new();
    for from in edges.keys().filter(|from| reach[from].contains(*from)) {
        let circle: Vec<String> = reach[from]
            .iter()
            .filter(|to| reach.get(to).is_some_and(|back| back.contains(from)))
            .cloned()
            .collect();
        circles.insert(circle);
    }
    circles.into_iter().collect()
}

fn reachable(from: &str, edges: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(at) = next.pop() {
        for to in edges.get(&at).into_iter().flatten() {
            if seen.insert(to.clone()) {
                next.push(to.clone());
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> Vec<SourceFile> {
        of.iter().map(|(path, text)| SourceFile::new(path, text)).collect()
    }

    #[test]
    fn a_circle_between_folders_is_found() {
        let one_way = files(&[
            ("host/src/a/mod.rs", "use crate::b::B;"),
            ("host/src/b/c.rs", "use super::d::D;"),
            ("host/src/b/d.rs", "use super::c::C;"),
        ]);
        assert_eq!(circles(&one_way), Vec::<String>::new());
        let circle = files(&[
            ("host/src/a/mod.rs", "use crate::b::B;"),
            ("host/src/b/c.rs", "use crate::c::C;"),
            ("host/src/c.rs", "use super::a::A;"),
        ]);
        assert_eq!(circles(&circle), ["host/src/: a <-> b <-> c"]);
    }

    #[test]
    fn a_circle_between_folders_of_a_folder_is_found() {
        let circle = files(&[
            ("host/src/a/b/mod.rs", "use crate::a::c::C;"),
            ("host/src/a/c/d.rs", "use super::super::b::B;"),
        ]);
        assert_eq!(circles(&circle), ["host/src/a: b <-> c"]);
    }

    #[test]
    fn an_import_of_a_test_makes_no_circle() {
        let tests = files(&[
            ("host/src/a.rs", "use crate::b::B;"),
            ("host/src/b.rs", "struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }"),
        ]);
        assert_eq!(circles(&tests), Vec::<String>::new());
    }

    #[test]
    fn an_eleventh_loose_module_is_found() {
        let of = |count: usize| -> Vec<SourceFile> {
            let loose = (0..count).map(|n| SourceFile::new(&format!("host/src/m{n}.rs"), ""));
            loose.chain([SourceFile::new("host/src/lib.rs", "")]).collect()
        };
        assert_eq!(too_many_loose_modules(&of(10)).len(), 0);
        assert_eq!(too_many_loose_modules(&of(11)).len(), 1);
    }
}
