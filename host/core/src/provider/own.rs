//! The operator's own provider files beside the built-in ones. Each is a unit: one that cannot be used is known by what
//! it said when it was last right, and the others go on.

use std::sync::Arc;

use super::catalog::taken;
use super::{Catalog, Provider, ProviderError};

/// One of the operator's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserProviderFile<'a> {
    /// What it says; none if that is not to be had, or not to be used.
    pub text: Option<&'a str>,
    /// What it said when it was last right.
    pub last_good: Option<&'a str>,
}

/// What is made of a file.
#[derive(Debug, Clone, Default)]
pub struct LoadedUserFile {
    /// The provider that is known by it; none if it never was right, or if another file has its name now.
    pub provider: Option<Arc<Provider>>,
    /// Whether that is its last good version.
    pub is_last_good: bool,
    /// Why what it says is not used, where it says anything.
    pub error: Option<ProviderError>,
}

/// A file with both of its versions read.
struct FileVersions {
    now: Option<Result<Arc<Provider>, ProviderError>>,
    last_good: Option<Arc<Provider>>,
}

impl FileVersions {
    fn new(file: &UserProviderFile<'_>) -> Self {
        let load = |text| Provider::load(text).map(Arc::new);
        // What an older version of this host kept is no promise of this one's.
        Self {
            now: file.text.map(load),
            last_good: file.last_good.and_then(|text| load(text).ok()),
        }
    }

    /// The provider that it is now and was before, or would be again.
    fn stays(&self) -> Option<&Arc<Provider>> {
        match (&self.now, &self.last_good) {
            (Some(Ok(now)), Some(before)) => (now.name == before.name).then_some(now),
            (Some(Err(_)), before) => before.as_ref(),
            _ => None,
        }
    }
}

impl Catalog {
    /// Adds the operator's files; what is made of each, in their order.
    ///
    /// A name belongs to the file that had it before, so that a copy of a file does not take the place of the file;
    /// then to the first that asks for it; and last to what is left of a file that says nothing any more.
    pub fn add_user_files(&mut self, files: &[UserProviderFile<'_>]) -> Vec<LoadedUserFile> {
        let read: Vec<_> = files.iter().map(FileVersions::new).collect();
        let mut known: Vec<_> = read.iter().map(|_| LoadedUserFile::default()).collect();
        for (file, known) in read.iter().zip(&mut known) {
            if let Some(provider) = file.stays().filter(|provider| self.insert(provider)) {
                known.provider = Some(Arc::clone(provider));
            }
        }
        for (file, known) in read.iter().zip(&mut known) {
            let Some(Ok(provider)) = file.now.as_ref().filter(|_| known.provider.is_none()) else {
                continue;
            };
            if self.insert(provider) {
                known.provider = Some(Arc::clone(provider));
            } else {
                known.error = Some(taken(&provider.name));
            }
        }
        for (file, known) in read.iter().zip(&mut known) {
            if let Some(Err(error)) = &file.now {
                known.error = Some(error.clone());
            }
            if known.provider.is_none() {
                let last_good = file.last_good.as_ref().filter(|last_good| self.insert(last_good));
                known.provider = last_good.map(Arc::clone);
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

    /// A file of a provider of that name; the number tells two versions of it apart.
    fn file(name: &str, version: u32) -> String {
        let custom = Catalog::built_in_text("custom").unwrap();
        let text = custom.replacen("\"custom\"", &format!("\"{name}\""), 1);
        let about = text.lines().find(|line| line.starts_with("about = ")).unwrap().to_owned();
        text.replacen(&about, &format!("about = \"version {version}\""), 1)
    }

    /// What becomes of files, each with what it says and what it said: the version in force of each, whether that is
    /// its last good one, and whether something is wrong with it.
    fn made(files: &[(Option<&str>, Option<&str>)]) -> Vec<(Option<String>, bool, bool)> {
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
    fn a_file_that_is_wrong_is_known_by_its_last_good_version_and_harms_no_other() {
        let (old, new, other) = (file("acme", 1), file("acme", 2), file("other", 1));
        let all = made(&[
            (Some("garbage"), Some(&old)),
            (Some(&other), None),
            (Some("more garbage"), None),
        ]);
        let wrong = (is("acme@1"), true, true);
        assert_eq!(all, [wrong, (is("other@1"), false, false), (None, false, true)]);
        assert_eq!(made(&[(Some(&new), Some(&old))]), [(is("acme@2"), false, false)]);
        assert_eq!(made(&[(Some(&old), Some(&old))]), [(is("acme@1"), false, false)]);
        assert_eq!(made(&[(Some("garbage"), Some("nor this"))]), [(None, false, true)]);
    }

    #[test]
    fn what_says_nothing_any_more_is_known_by_what_it_said() {
        let old = file("acme", 1);
        assert_eq!(made(&[(None, Some(&old))]), [(is("acme@1"), true, false)]);
        assert_eq!(made(&[(None, None)]), [(None, false, false)]);
        let moved = file("acme", 2);
        let all = made(&[(None, Some(&old)), (Some(&moved), None)]);
        assert_eq!(all, [(None, false, false), (is("acme@2"), false, false)], "it has moved");
    }

    #[test]
    fn a_name_stays_with_the_file_that_had_it() {
        let (acme, copy) = (file("acme", 1), file("acme", 2));
        let all = made(&[(Some(&copy), None), (Some(&acme), Some(&acme))]);
        assert_eq!(all, [(None, false, true), (is("acme@1"), false, false)]);
        let all = made(&[(Some(&copy), None), (Some("garbage"), Some(&acme))]);
        assert_eq!(all, [(None, false, true), (is("acme@1"), true, true)]);
        let beta = file("beta", 1);
        let all = made(&[(Some(&copy), Some(&beta)), (Some(&acme), Some(&acme))]);
        assert_eq!(all, [(is("beta@1"), true, true), (is("acme@1"), false, false)]);
    }

    #[test]
    fn two_files_may_exchange_their_names_and_none_may_take_a_built_in_one() {
        let (a1, b1, a2, b2) = (file("a", 1), file("b", 1), file("a", 2), file("b", 2));
        let all = made(&[(Some(&b2), Some(&a1)), (Some(&a2), Some(&b1))]);
        assert_eq!(all, [(is("b@2"), false, false), (is("a@2"), false, false)]);
        let github = file("github", 1);
        assert_eq!(made(&[(Some(&github), None)]), [(None, false, true)]);
        assert_eq!(made(&[(Some(&github), Some(&github))]), [(None, false, true)]);
    }
}
