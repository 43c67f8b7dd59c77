//! Common mistakes of new users: each is reported with its line and a remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::load;
use super::load::from_text;

/// The problems of a file in this folder.
fn said(folder: &Path, text: &str) -> String {
    let variable = |name: &str| (name == "S").then(|| "7Qm2xV9sKd4LrT8wZp3N".into());
    match from_text("weir.toml", text, folder, &variable, super::Mode::Production) {
        Ok((_, warnings)) => warnings.iter().map(|w| format!("{w}\n")).collect(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn common_mistakes_are_reported_with_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a-folder")).unwrap();
    fs::write(folder.path().join("a-file"), "x").unwrap();
    let github = "[sources.github]\nprovider = \"github\"\nsecrets = [{ env = \"S\" }]\n";
    let with = |more: &str| format!("{github}{more}");
    for (text, wanted) in [
        ("[server]\nlisten = 127.0.0.1:8080".to_owned(), "weir.toml:2: ; text needs quotes"),
        ("[server]\nlisten: \"127.0.0.1:8080\"".into(), "weir.toml:2: ; with = and not :"),
        ("[server]\nlisten = “127.0.0.1:8080”".into(), "weir.toml:2: ; write plain quotes"),
        ("[server]\nlisten = \"127.0.0.1:8080".into(), "weir.toml:2: ; the quote is not closed"),
        ("[server\nlisten = \"127.0.0.1:8080\"".into(), "weir.toml:1: ; a table is one line"),
        ("sources:\n  github:\n    provider: github".into(), "weir.toml:1: ; with = and not :"),
        (
            "[server]\nlisten = \"localhost:8080\"".into(),
            "weir.toml:2: server.listen: `localhost:8080` is not an address and port, such as",
        ),
        (
            "[server]\nlisten = 8080".into(),
            "weir.toml:2: server.listen: expected text in \"quotes\", found a number",
        ),
        (
            "[server]\nmax_connections = \"100\"".into(),
            "weir.toml:2: server.max_connections: expected a whole number, found text",
        ),
        (
            "max_connections = 100".into(),
            "weir.toml:1: max_connections: unknown key; it belongs in [server]",
        ),
        (
            with("memory_ceiling = \"1GiB\""),
            "weir.toml:4: sources.github.memory_ceiling: unknown key; it belongs in [runs]",
        ),
        (
            with("index = { order = \"data.id\" }"),
            "weir.toml:4: sources.github.index.order: `data.id` is no place: a JSON pointer starts",
        ),
        (
            with("index = { Order = \"/id\" }"),
            "weir.toml:4: sources.github.index.Order: the name of a key has 1 to 32 of",
        ),
        (
            with("index = { a = \"/a\", b = \"/b\", c = \"/c\", d = \"/d\", e = \"/e\" }"),
            "weir.toml:4: sources.github.index: has 5 keys; a source has at most 4",
        ),
        (
            "[source.github]\nprovider = \"github\"".into(),
            "weir.toml:1: source: unknown key; did you mean `sources`?",
        ),
        (
            "[destination.ops]\nkind = \"inbox\"".into(),
            "weir.toml:1: destination: unknown key; did you mean `destinations`?",
        ),
        (
            "[handler.a]\non = []".into(),
            "weir.toml:1: handler: unknown key; did you mean `handlers`?",
        ),
        ("[[routes]]\non = []".into(), "weir.toml:1: routes: unknown key; did you mean `route`?"),
        (
            "[route]\non = [\"*:*\"]\nto = \"ops\"".into(),
            "weir.toml:1: route: expected a list in [brackets], found a table; write [[route]]",
        ),
        (
            "[[sources]]\nname = \"github\"".into(),
            "weir.toml:1: sources: expected tables, found a list; write [sources.NAME]",
        ),
        (
            "[sources]\nprovider = \"github\"".into(),
            "weir.toml:2: sources.provider: expected a table, found text; keys belong in a table with a name: [sources.NAME]",
        ),
        (
            "[sources.GitHub]\nprovider = \"github\"".into(),
            "weir.toml:1: sources.GitHub: `GitHub` is not a source name: use 1 to 63 of a-z",
        ),
        (with(github), "weir.toml:4: ;duplicate"),
        (
            with("[sources.b]\nprovider = \"GitHub\"\nsecrets = [{ env = \"S\" }]"),
            "weir.toml:5: sources.b.provider: no provider `GitHub`; did you mean `github`?",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecret = { env = \"S\" }".into(),
            "weir.toml:3: sources.a.secret: unknown key; did you mean `secrets`?",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = { env = \"S\" }".into(),
            "weir.toml:3: sources.a.secrets: is a table instead of a list; put it in brackets",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"NOPE\" }]".into(),
            "weir.toml:3: sources.a.secrets[0].env: environment variable NOPE is not set",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"$NOPE\" }]".into(),
            "weir.toml:3: sources.a.secrets[0].env: write the name alone, with no $: \"NOPE\"",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"${NOPE}\" }]".into(),
            "weir.toml:3: sources.a.secrets[0].env: write the name alone, with no $: \"NOPE\"",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ file = \"nope\" }]".into(),
            "nope cannot be read: No such file",
        ),
        (
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ file = \"a-folder\" }]".into(),
            "a-folder cannot be read: Is a directory (os error 21); name a file, not a folder",
        ),
        (
            "[sources.a]\nsecrets = [{ env = \"S\" }]".into(),
            "weir.toml:1: sources.a.provider: is missing",
        ),
        (
            "[destinations.ops]\nurl = \"https://ops.example.com\"".into(),
            "weir.toml:1: destinations.ops.kind: is missing",
        ),
        (
            "[destinations.ops]\nkind = \"http\"\nurl = \"https://ops.example.com\"".into(),
            "weir.toml:2: destinations.ops.kind: must be one of \"webhook\", \"inbox\", \"stdout\"",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"ops.example.com/hook\"".into(),
            "weir.toml:3: destinations.ops.url: ",
        ),
        (
            "[destinations.ops]\nkind = \"webhook\"\nurl = \"${OPS_URL}\"".into(),
            "weir.toml:3: destinations.ops.url: is not a URL",
        ),
        (
            "[[route]]\non = \"github:push\"\nto = \"ops\"\n[destinations.ops]\nkind = \"inbox\""
                .into(),
            "weir.toml:2: route[0].on: expected a list in [brackets], found text; write [\"…\"]",
        ),
        ("[plugins]\ndir = \"a-file\"".into(), "a-file is a file; name the folder of the modules"),
        ("[plugins]\ndir = \"plugin\"".into(), "weir.toml:2: plugins.dir: "),
        ("[store]\nurl = \"data/weir.db\"".into(), "weir.toml:2: store.url: "),
        (
            "[server]\nbody_timeout = 30".into(),
            "weir.toml:2: server.body_timeout: expected a duration such as \"30s\", found a number",
        ),
        (
            "[server]\nbody_timeout = \"30\"".into(),
            "weir.toml:2: server.body_timeout: `30` has no unit; write \"30s\"",
        ),
        (
            "[server]\nbody_limit = \"5\"".into(),
            "weir.toml:2: server.body_limit: `5` has no unit; write \"5B\"",
        ),
    ] {
        let said = said(folder.path(), &text);
        // The parser's own words stand between the place and what to do.
        let (place, what) = wanted.split_once(": ;").unwrap_or(("", wanted));
        let told =
            said.lines().any(|line| line.starts_with(place) && line.contains(what.trim_start()));
        assert!(told, "\n{text}\nsays   {said}\nwanted {wanted}");
    }
}

#[test]
fn an_unreadable_file_is_reported_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let said =
        |name: &str| load(Some(&path(name)), super::Mode::Production).unwrap_err().to_string();
    assert!(said("nope.toml").contains("nope.toml: cannot be read: No such file or directory"));
    assert!(said("nope.toml").contains("`weir config defaults` prints one"));
    fs::create_dir(path("conf")).unwrap();
    assert!(said("conf").contains("name the file in it"), "{}", said("conf"));
    fs::write(path("weir.yaml"), "sources: {}").unwrap();
    assert!(said("weir.yaml").contains("is not named as TOML"), "{}", said("weir.yaml"));
    fs::write(path("latin.toml"), b"# caf\xe9\n").unwrap();
    assert!(said("latin.toml").contains("save it as UTF-8"), "{}", said("latin.toml"));
    // Windows editors put a mark before the file and a carriage return before each line end.
    let text =
        "\u{feff}[server]\r\nlisten = \"127.0.0.1:0\"\r\n[admin]\r\nlisten = \"127.0.0.1:0\"\r\n";
    fs::write(path("windows.toml"), text).unwrap();
    assert!(load(Some(&path("windows.toml")), super::Mode::Production).is_ok());
    fs::write(path("shut.toml"), "").unwrap();
    fs::set_permissions(path("shut.toml"), fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser reads everything.
    if fs::read(path("shut.toml")).is_err() {
        assert!(said("shut.toml").contains("let the user that runs weir read it"));
    }
}
