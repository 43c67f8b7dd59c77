//! The operator's own provider files. If a file cannot be used, its last good version stays in
//! force, and the other files are not affected.

use std::sync::Arc;

use super::catalog::name_taken;
use super::{Catalog, Provider, ProviderError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserProviderFile<'a> {
    /// The current text; `None` if it cannot be read or must not be used.
    pub text: Option<&'a str>,
    /// The last valid text.
    pub last_good: Option<&'a str>,
}

/// The result of loading one file.
#[derive(Debug, Clone, Default)]
pub struct LoadedUserFile {
    /// The provider in force; `None` if no version was valid, or if another file has its name now.
    pub provider: Option<Arc<Provider>>,
    /// True if the last good version is in force.
    pub is_last_good: bool,
    /// The error of the current text.
    pub error: Option<ProviderError>,
}

/// A file with both versions parsed.
struct FileVersions {
    now: Option<Result<Arc<Provider>, ProviderError>>,
    last_good: Option<Arc<Provider>>,
}

impl FileVersions {
    fn new(file: &UserProviderFile<'_>) -> Self {
        let load = |text| Provider::load(text).map(Arc::new);
        // This version of the hub may refuse a text that an older version kept.
        Self {
            now: file.text.map(load),
            last_good: file.last_good.and_then(|text| load(text).ok()),
        }
    }

    /// The provider that the file has now and had before, or would fall back to.
    fn keeps_its_name(&self) -> Option<&Arc<Provider>> {
        match (&self.now, &self.last_good) {
            (Some(Ok(now)), Some(before)) => (now.name == before.name).then_some(now),
            (Some(Err(_)), before) => before.as_ref(),
            _ => None,
        }
    }
}

impl Catalog {
    /// Adds the operator's files and returns the result for each, in order.
    ///
    /// A provider name goes first to the file that had it before, so that a copy of a file does not
    /// replace the file; then to the first file that asks for it; and last to the last good version
    /// of a file that is no longer valid.
    pub fn add_user_files(&mut self, files: &[UserProviderFile<'_>]) -> Vec<LoadedUserFile> {
        let read: Vec<_> = files.iter().map(FileVersions::new).collect();
        let mut known: Vec<_> = read.iter().map(|_| LoadedUserFile::default()).collect();
        for (file, known) in read.iter().zip(&mut known) {
            if let Some(provider) = file.keeps_its_name().filter(|provider| self.insert(provider)) {
                known.provider = Some(provider.clone());
            }
        }
        for (file, known) in read.iter().zip(&mut known) {
            let Some(Ok(provider)) = file.now.as_ref().filter(|_| known.provider.is_none()) else {
                continue;
            };
            if self.insert(provider) {
                known.provider = Some(provider.clone());
            } else {
                known.error = Some(name_taken(&provider.name));
            }
        }
        for (file, known) in read.iter().zip(&mut known) {
            if let Some(Err(error)) = &file.now {
                known.error = Some(error.clone());
            }
            if known.provider.is_none() {
                let last_good = file.last_good.as_ref().filter(|last_good| self.insert(last_good));
                known.provider = last_good.cloned();
            }
            let says = file.now.as_ref().and_then(|now| now.as_ref().ok());
            known.is_last_good = match (&known.provider, says) {
                (Some(provider), Some(now)) => !Arc::ptr_eq(provider, now),
                (provider, None) => provider.is_some(),
                (None, Some(_)) => false,
            };
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a provider of this name; `version` tells two versions apart.
    fn file(name: &str, version: u32) -> String {
        let custom = Catalog::built_in_text("custom").unwrap();
        let text = custom.replacen("\"custom\"", &format!("\"{name}\""), 1);
        let about = text.lines().find(|line| line.starts_with("about = ")).unwrap().to_owned();
        text.replacen(&about, &format!("about = \"version {version}\""), 1)
    }

    /// Loads files, each given as current and last good text: the version in force, whether it is
    /// the last good one, and whether there is an error.
    fn loaded(files: &[(Option<&str>, Option<&str>)]) -> Vec<(Option<String>, bool, bool)> {
        let file =
            |(text, last_good): &(_, _)| UserProviderFile { text: *text, last_good: *last_good };
        let files: Vec<_> = files.iter().map(file).collect();
        let mut catalog = Catalog::built_in().unwrap();
        let known = catalog.add_user_files(&files);
        for known in &known {
            if let Some(provider) = &known.provider {
                assert!(Arc::ptr_eq(provider, catalog.get(&provider.name).unwrap()));
            }
        }
        let said = |known: LoadedUserFile| {
            let provider = known.provider.map(|p| format!("{} {}", p.name, p.about));
            (provider, known.is_last_good, known.error.is_some())
        };
        known.into_iter().map(said).collect()
    }

    fn is(provider: &str) -> Option<String> {
        Some(provider.replace('@', " version "))
    }

    #[test]
    fn a_broken_file_falls_back_and_affects_no_other() {
        let (old, new, other) = (file("acme", 1), file("acme", 2), file("other", 1));
        let all = loaded(&[
            (Some("garbage"), Some(&old)),
            (Some(&other), None),
            (Some("more garbage"), None),
        ]);
        let wrong = (is("acme@1"), true, true);
        assert_eq!(all, [wrong, (is("other@1"), false, false), (None, false, true)]);
        assert_eq!(loaded(&[(Some(&new), Some(&old))]), [(is("acme@2"), false, false)]);
        assert_eq!(loaded(&[(Some(&old), Some(&old))]), [(is("acme@1"), false, false)]);
        assert_eq!(loaded(&[(Some("garbage"), Some("nor this"))]), [(None, false, true)]);
    }

    #[test]
    fn a_removed_file_stays_in_force() {
        let old = file("acme", 1);
        assert_eq!(loaded(&[(None, Some(&old))]), [(is("acme@1"), true, false)]);
        assert_eq!(loaded(&[(None, None)]), [(None, false, false)]);
        let moved = file("acme", 2);
        let all = loaded(&[(None, Some(&old)), (Some(&moved), None)]);
        assert_eq!(all, [(None, false, false), (is("acme@2"), false, false)], "it has moved");
    }

    #[test]
    fn a_name_stays_with_its_file() {
        let (acme, copy) = (file("acme", 1), file("acme", 2));
        let all = loaded(&[(Some(&copy), None), (Some(&acme), Some(&acme))]);
        assert_eq!(all, [(None, false, true), (is("acme@1"), false, false)]);
        let all = loaded(&[(Some(&copy), None), (Some("garbage"), Some(&acme))]);
        assert_eq!(all, [(None, false, true), (is("acme@1"), true, true)]);
        let beta = file("beta", 1);
        let all = loaded(&[(Some(&copy), Some(&beta)), (Some(&acme), Some(&acme))]);
        assert_eq!(all, [(is("beta@1"), true, true), (is("acme@1"), false, false)]);
    }

    #[test]
    fn files_may_swap_names_but_not_take_a_built_in_one() {
        let (a1, b1, a2, b2) = (file("a", 1), file("b", 1), file("a", 2), file("b", 2));
        let all = loaded(&[(Some(&b2), Some(&a1)), (Some(&a2), Some(&b1))]);
        assert_eq!(all, [(is("b@2"), false, false), (is("a@2"), false, false)]);
        let github = file("github", 1);
        assert_eq!(loaded(&[(Some(&github), None)]), [(None, false, true)]);
        assert_eq!(loaded(&[(Some(&github), Some(&github))]), [(None, false, true)]);
    }
}
