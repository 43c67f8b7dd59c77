//! `weir sign`: signs a handler's module and sidecar together, and makes the keys for that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use serde_json::json;
use weir_core::bounds::{KIB, MODULE_BYTES_MAX};
use weir_core::module_signature::{ModuleSigner, SIGNATURE_FILE_BYTES_MAX, Signed};
use weir_core::name::HandlerName;
use weir_core::verify::Secret;

use super::error::CommandError;
use crate::program::output::Output;

/// The largest private key file, in bytes.
const KEY_BYTES_MAX: usize = 16 * KIB;
/// The largest sidecar file, in bytes.
const SIDECAR_BYTES_MAX: usize = 64 * KIB;

/// Sign a handler's module and sidecar together, for hubs with plugins.require_signature
///
/// Writes NAME.sig beside NAME.wasm. The signature covers the name, NAME.wasm and NAME.toml:
/// whatever changes one of them must sign again. Signatures of other keys stay if they are still
/// valid.
#[derive(Debug, Clone, clap::Args)]
pub struct SignArgs {
    /// The module, NAME.wasm
    #[arg(value_name = "FILE", required_unless_present = "new_key")]
    pub file: Option<PathBuf>,
    /// The private key to sign with, as --new-key wrote it
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    pub key: Option<PathBuf>,
    /// Make a key, write its private half to a new file, and print the public half for
    /// plugins.keys
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "key"])]
    pub new_key: Option<PathBuf>,
}

pub(super) fn run(args: &SignArgs, output: Output) -> Result<(), CommandError> {
    match (&args.new_key, &args.file, &args.key) {
        (Some(to), ..) => new_key(to, output),
        (None, Some(module), Some(key)) => sign(module, key, output),
        _ => Err(CommandError::Usage("name a module, and its key with --key FILE".into())),
    }
}

fn new_key(to: &Path, output: Output) -> Result<(), CommandError> {
    let pem = ModuleSigner::generate(&SystemRandom::new())
        .ok_or_else(|| CommandError::Failed("the system has no random numbers".into()))?;
    let public = ModuleSigner::parse(&pem)
        .map_err(|error| CommandError::Failed(error.to_string()))?
        .public()
        .to_string();
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        file.write_all(pem.expose())?;
        file.sync_all()
    };
    write().map_err(|error| failed("write", to, &error))?;
    if output.json {
        output.value(&json!({ "key": public, "file": to }));
    } else {
        output.text(&format!(
            "The private key is in {}: keep it apart from the hub.\nPut the public key into \
             weir.toml:\n\n[plugins]\nrequire_signature = true\nkeys = [\"{public}\"]",
            to.display()
        ));
    }
    Ok(())
}

fn sign(module: &Path, key: &Path, output: Output) -> Result<(), CommandError> {
    let name = name_of(module)?;
    let pem = Secret::new(bytes(key, KEY_BYTES_MAX)?);
    let signer = ModuleSigner::parse(&pem)
        .map_err(|error| CommandError::Failed(format!("{}: {error}", key.display())))?;
    let (sidecar, to) = (module.with_extension("toml"), module.with_extension("sig"));
    let sidecar = present(&sidecar).then(|| text(&sidecar, SIDECAR_BYTES_MAX)).transpose()?;
    let bytes = bytes(module, MODULE_BYTES_MAX)?;
    // What is no signature file is replaced.
    let before = text(&to, SIGNATURE_FILE_BYTES_MAX).unwrap_or_default();
    let signed = Signed { name: &name, module: &bytes, sidecar: sidecar.as_deref() };
    write_beside(&to, &signer.sign(signed, &before))
        .map_err(|error| failed("write", &to, &error))?;
    let (public, with) = (signer.public().to_string(), sidecar.is_some());
    if output.json {
        output.value(&json!({ "handler": name, "file": to, "key": public, "sidecar": with }));
    } else {
        let sidecar = if with { format!(" with {name}.toml") } else { " without a sidecar".into() };
        output.text(&format!("{}: {name}.wasm{sidecar}, signed by {public}", to.display()));
    }
    Ok(())
}

/// The handler that a module file is.
fn name_of(module: &Path) -> Result<HandlerName, CommandError> {
    let usage = |what: String| CommandError::Usage(format!("{}: {what}", module.display()));
    if module.extension().is_none_or(|extension| extension != "wasm") {
        return Err(usage("is not a module; name a file that ends in .wasm".into()));
    }
    let stem = module.file_stem().unwrap_or_default().to_string_lossy();
    HandlerName::new(&stem).map_err(|error| usage(error.to_string()))
}

fn present(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Writes another file and renames it: a hub may be watching the folder.
fn write_beside(to: &Path, text: &str) -> io::Result<()> {
    let part = to.with_extension("sig.tmp");
    fs::write(&part, text)?;
    fs::rename(&part, to)
}

fn bytes(path: &Path, max: usize) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| failed("read", path, &error))?;
    if bytes.len() > max {
        let path = path.display();
        return Err(CommandError::Failed(format!("{path} has more than {max} bytes")));
    }
    Ok(bytes)
}

fn text(path: &Path, max: usize) -> Result<String, CommandError> {
    String::from_utf8(bytes(path, max)?)
        .map_err(|_| CommandError::Failed(format!("{} is not UTF-8 text", path.display())))
}

fn failed(act: &str, path: &Path, error: &io::Error) -> CommandError {
    CommandError::Failed(format!("cannot {act} {}: {error}", path.display()))
}
