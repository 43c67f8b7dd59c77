//! Secrets: references of the form `{ env = "NAME" }` or `{ file = "path" }`. No error contains a
//! value.

use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;
use weir_core::verify::{NamedSecret, Secret};

use super::context::LoadContext;
use super::secret_strength::{note_traces, note_traces_of_value};
use super::shown::{is_path, is_variable_name};
use super::tree::Section;
use super::value::kind;

/// Longest secret, in bytes: ten times a PEM file with a large key.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Most secrets of one source or destination; each is tried on every request.
const SECRETS_MAX: usize = 16;

/// The form of a reference, for messages.
const REFERENCE: &str = "{ env = \"NAME\" } or { file = \"path\" }";

/// The secrets under a key, in the order of the file, each with its own name.
pub(super) fn list(
    section: &mut Section<'_>,
    key: &'static str,
    context: &LoadContext<'_>,
) -> Option<Vec<NamedSecret>> {
    if section.is_table(key) {
        section.problem(key, "is a table instead of a list; put it in brackets: [{ … }]");
        return None;
    }
    let items = section.items(key)?;
    if items.len() > SECRETS_MAX {
        section.problem(key, format!("more than {SECRETS_MAX} secrets at once"));
        return None;
    }
    let mut secrets: Vec<NamedSecret> = Vec::with_capacity(items.len());
    let mut complete = true;
    for (index, item) in items.iter().enumerate() {
        let place = format!("{key}[{index}]");
        let read = match item.get_ref() {
            DeValue::String(text) => literal(section, &place, index, text, context),
            DeValue::Table(_) => {
                section.item(key, index, item).and_then(|reference| referred(reference, context))
            }
            other => {
                section.problem(&place, format!("expected {REFERENCE}, found {}", kind(other)));
                None
            }
        };
        match read {
            Some(secret) if secrets.iter().any(|s| s.name == secret.name) => {
                let what =
                    format!("a second secret named `{}`; give it a name = \"…\"", secret.name);
                section.problem(&place, what);
                complete = false;
            }
            Some(secret) => {
                note_traces(section, &place, &secret.value);
                secrets.push(secret);
            }
            None => complete = false,
        }
    }
    complete.then_some(secrets)
}

/// The same for an optional key; an absent key is an empty list.
pub(super) fn list_or_empty(
    section: &mut Section<'_>,
    key: &'static str,
    context: &LoadContext<'_>,
) -> Option<Vec<NamedSecret>> {
    if section.has(key) {
        return list(section, key, context);
    }
    section.mark_read(key);
    Some(Vec::new())
}

/// The single secret under a key, if the key is present.
pub(super) fn one(
    section: &mut Section<'_>,
    key: &'static str,
    context: &LoadContext<'_>,
) -> Option<Secret> {
    if !section.has(key) {
        return None;
    }
    let reference = section.section(key);
    let secret = reference.is_given().then(|| referred(reference, context))??.value;
    note_traces(section, key, &secret);
    Some(secret)
}

/// A text in the file, or the text that a reference leads to.
pub(super) fn text_or_reference<'t>(
    section: &Section<'t>,
    key: &str,
    name: &str,
    value: &'t Spanned<DeValue<'t>>,
    context: &LoadContext<'_>,
) -> Option<Vec<u8>> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.as_bytes().to_vec()),
        DeValue::Table(_) => {
            let secret = referred(section.entry(key, name, value)?, context)?.value;
            note_traces_of_value(section, &format!("{key}.{name}"), &secret);
            Some(secret.expose().to_vec())
        }
        other => {
            let what = format!("expected text in \"quotes\" or {REFERENCE}, found {}", kind(other));
            section.problem(&format!("{key}.{name}"), what);
            None
        }
    }
}

fn literal(
    section: &Section<'_>,
    place: &str,
    index: usize,
    text: &str,
    context: &LoadContext<'_>,
) -> Option<NamedSecret> {
    if !context.mode.is_development() {
        section.problem(
            place,
            format!(
                "a secret may not be written in the file itself; write {REFERENCE}, or start \
                 with --dev"
            ),
        );
        return None;
    }
    if text.is_empty() {
        section.problem(place, "the secret is empty");
        return None;
    }
    Some(NamedSecret::new(&format!("literal-{index}"), Secret::new(text)))
}

fn referred(mut reference: Section<'_>, context: &LoadContext<'_>) -> Option<NamedSecret> {
    let variable = reference.maybe::<String>("env");
    let file = reference.maybe::<PathBuf>("file");
    let name = reference.maybe::<String>("name");
    let scheme = reference.maybe::<String>("scheme");
    let found = match (variable, file) {
        (Some(variable), None) => from_variable(&reference, &variable, context),
        (None, Some(file)) => from_file(&reference, &file, context),
        (None, None) if reference.has("env") || reference.has("file") => None,
        _ => {
            reference.problem("", format!("expected {REFERENCE}: one of the two"));
            None
        }
    };
    if name
        .as_ref()
        .is_some_and(|n| n.is_empty() || n.len() > 63 || n.chars().any(char::is_control))
    {
        reference.problem("name", "use 1 to 63 printable characters");
        return None;
    }
    reference.finish();
    let (value, default) = found?;
    let mut secret = NamedSecret::new(&name.unwrap_or(default), value);
    secret.scheme = scheme.map(String::into_boxed_str);
    Some(secret)
}

fn from_variable(
    reference: &Section<'_>,
    variable: &str,
    context: &LoadContext<'_>,
) -> Option<(Secret, String)> {
    let wrong = |what: &str| {
        let bare = variable.trim_start_matches('$').trim_matches(['{', '}']);
        if is_variable_name(variable) {
            reference.problem("env", format!("environment variable {variable} {what}"));
        } else if bare != variable && is_variable_name(bare) {
            reference.problem("env", format!("write the name alone, with no $: \"{bare}\""));
        } else {
            let what = format!(
                "the environment variable {what}. It is not shown, because it does not look like \
                 a name \
                 and may be the secret: write the NAME of a variable that contains the secret"
            );
            reference.problem("env", what);
        }
        None
    };
    let Some(value) = (context.variable)(variable) else { return wrong("is not set") };
    let mut value = value.into_vec();
    let given = value.len();
    without_line_end(&mut value);
    match (given, value.is_empty()) {
        (0, _) => wrong("is empty"),
        (_, true) => wrong("contains only a line ending"),
        _ => Some((Secret::new(value), variable.into())),
    }
}

fn from_file(
    reference: &Section<'_>,
    file: &Path,
    context: &LoadContext<'_>,
) -> Option<(Secret, String)> {
    let path = context.resolve(file);
    context.record_read(&path);
    let shown = match is_path(file) {
        true => path.display().to_string(),
        false => "the file (not repeated here: its name looks like the secret itself)".into(),
    };
    match contents(&path) {
        Ok((bytes, _)) if bytes.is_empty() => {
            reference.problem("file", format!("{shown} is empty"));
            None
        }
        Ok((bytes, _)) if bytes.len() as u64 > SECRET_BYTES_MAX => {
            reference
                .problem("file", format!("{shown} is longer than 64KiB, too long for a secret"));
            None
        }
        Ok((bytes, mode)) => {
            if mode & 0o004 != 0 {
                let what =
                    format!("{shown} can be read by every user of this machine; chmod 600 it");
                reference.warning("file", what);
            }
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            Some((Secret::new(bytes), name.into_owned()))
        }
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::IsADirectory => "; name a file, not a folder",
                ErrorKind::PermissionDenied => "; let the user that runs the hub read it",
                _ => "",
            };
            reference.problem("file", format!("{shown} cannot be read: {error}{hint}"));
            None
        }
    }
}

/// The bytes of a secret file without the line ending at the end, and its mode.
fn contents(path: &Path) -> std::io::Result<(Vec<u8>, u32)> {
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 3).read_to_end(&mut bytes)?;
    without_line_end(&mut bytes);
    Ok((bytes, mode))
}

/// Removes one line ending at the end.
fn without_line_end(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
}
