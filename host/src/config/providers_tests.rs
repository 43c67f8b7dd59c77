//! Provider files of the operator's own: each is a unit, known by what it says or by what it said
//! when it was right.

use std::ffi::OsString;
use std::fs;

use super::load::from_text;
use super::*;

fn variable(_: &str) -> Option<OsString> {
    Some("gh-secret".into())
}

#[test]
fn an_operator_may_add_but_not_replace_providers() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["acme", "github"] {
        let custom = include_str!("../../core/providers/custom.toml");
        let text = custom.replacen("\"custom\"", &format!("\"{name}\""), 1);
        fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let text = "[providers]\nfiles = [\"acme.toml\"]\n[sources.a]\nprovider = \"acme\"\n\
                secrets = [{ env = \"GITHUB_SECRET\" }]";
    let (config, _) =
        from_text("weir.toml", text, folder.path(), &variable, super::Mode::Production).unwrap();
    assert_eq!(&*config.sources["a"].provider.name, "acme");

    let text = "[providers]\nfiles = [\"github.toml\", \"nowhere.toml\"]";
    let (config, _) =
        from_text("weir.toml", text, folder.path(), &variable, super::Mode::Production).unwrap();
    let line = |name: &str, rest: &str| format!("{}{rest}", folder.path().join(name).display());
    let [github, nowhere] = &config.providers[..] else { panic!("{:?}", config.providers) };
    let said = |file: &ProviderFile| file.problems[0].to_string();
    let there = line("github.toml", ":2: name: there is a provider \"github\" already");
    assert_eq!((said(github), &github.provider), (there, &None));
    let missing = line("nowhere.toml", ": cannot be read: No such file");
    assert!(said(nowhere).starts_with(&missing), "{}", said(nowhere));
}

#[test]
fn mistakes_in_a_provider_file_have_its_own_lines() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("providers");
    fs::create_dir(&dir).unwrap();
    let said = |text: &str| {
        fs::write(dir.join("acme.toml"), text).unwrap();
        let (config, _) =
            from_text("weir.toml", "", folder.path(), &variable, super::Mode::Production).unwrap();
        let [file] = &config.providers[..] else { panic!("{:?}", config.providers) };
        assert_eq!((&*file.file, &file.provider), ("providers/acme.toml", &None));
        file.problems[0].to_string().replace(&dir.display().to_string(), "…")
    };
    let good = "format = 1\nname = \"acme\"\nabout = \"a\"\ndocs = \"d\"\ndedup = \"body\"\n[[schemes]]\nname = \"one\"\nheader = \"X-Sig\"\n\
                algorithm = \"hmac-sha256\"\nencoding = \"hex\"\n";
    assert_eq!(said("format = 1\nnam = \"acme\"\n").split(": ").next().unwrap(), "…/acme.toml:2");
    assert_eq!(said("format = 1\nname = acme\n").split(": ").next().unwrap(), "…/acme.toml:2");
    let wrong = said(&good.replace("\"X-Sig\"", "\"X Sig\""));
    assert!(wrong.contains("…/acme.toml:8: schemes.one.header: "), "{wrong}");
    let wrong = said(good);
    assert!(
        wrong.contains("…/acme.toml: vectors.*: at least one genuine request is needed"),
        "{wrong}"
    );
}

/// A folder with a provider file of its own, and a source of that provider.
struct OwnProvider(tempfile::TempDir);

impl OwnProvider {
    const SOURCE: &str =
        "[sources.a]\nprovider = \"acme\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n";

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "providers"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let own = Self(folder);
        own.says(&Self::good());
        own
    }

    fn good() -> String {
        include_str!("../../core/providers/custom.toml").replacen("\"custom\"", "\"acme\"", 1)
    }

    /// A file that asks for more than it did.
    fn asking() -> String {
        let asked = "[[params]]\nname = \"account\"\nabout = \"who\"\nrequired = true\n";
        format!("{}\n{asked}", Self::good())
    }

    fn says(&self, text: &str) {
        fs::write(self.0.path().join("providers/acme.toml"), text).unwrap();
    }

    fn read(&self, text: &str) -> Result<Config, ConfigErrors> {
        let read = from_text("weir.toml", text, self.0.path(), &variable, super::Mode::Production);
        read.map(|(config, _)| config)
    }

    /// Reads as a hub does that goes on with what it has read.
    fn adopt(&self, text: &str) -> Config {
        let config = self.read(text).unwrap();
        save_last_good(&config.data_dir, &config.providers).unwrap();
        config
    }

    /// The problem of the file whose last good version is used.
    fn stands_in(&self, text: &str) -> String {
        let config = self.adopt(text);
        let file = &config.providers[0];
        assert_eq!(file.provider.as_deref(), Some("acme"));
        assert_eq!(file.last_good.as_deref(), Some(&*Self::good()));
        file.problems.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn an_invalid_or_missing_provider_file_keeps_its_last_good_version() {
    let own = OwnProvider::new();
    assert!(own.adopt(OwnProvider::SOURCE).providers[0].problems.is_empty());
    own.says("format = 1\nname = acme\n");
    let said = own.stands_in(OwnProvider::SOURCE);
    assert!(said.contains("providers/acme.toml:2: "), "{said}");
    // Another mistake beside it is said as before, and that of the file too.
    let said = own.read("[server]\nlisten = 3\n").unwrap_err().to_string();
    assert!(said.contains("weir.toml:2: server.listen") && said.contains("acme.toml:2"), "{said}");
    fs::remove_file(own.0.path().join("providers/acme.toml")).unwrap();
    let said = own.stands_in(OwnProvider::SOURCE);
    assert_eq!(
        said,
        "providers/acme.toml: is missing and needed by a; restore it, or remove these sources"
    );
    assert_eq!(own.adopt("").providers, [], "no source needs it any more");
    let said = own.read(OwnProvider::SOURCE).unwrap_err().to_string();
    assert!(said.contains("no provider `acme`"), "{said}");
}

#[test]
fn an_incompatible_change_of_a_provider_file_is_not_used() {
    let own = OwnProvider::new();
    own.adopt(OwnProvider::SOURCE);
    own.says(&OwnProvider::asking());
    let said = own.stands_in(OwnProvider::SOURCE);
    assert!(said.contains("acme.toml: is incompatible with the sources: weir.toml:"), "{said}");
    assert!(said.contains("sources.a.params.account: is missing"), "{said}");
    let both = format!("{}params = {{ account = \"x\" }}\n", OwnProvider::SOURCE);
    let config = own.adopt(&both);
    assert_eq!((&config.providers[0].problems[..], config.sources["a"].params.len()), (&[][..], 1));
    let said = own.read(OwnProvider::SOURCE).unwrap_err().to_string();
    assert!(said.contains("params.account"), "it is the sources' turn now: {said}");
}
