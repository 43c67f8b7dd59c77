//! Test handlers: the committed ones, and modules that no compiler would make, written as
//! WebAssembly text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The path of a committed test handler, or of what its source builds today if `WEIR_TEST_HANDLERS`
/// names a folder that holds it.
pub fn committed(name: &str) -> PathBuf {
    let built = std::env::var_os("WEIR_TEST_HANDLERS")
        .map(|dir| Path::new(&dir).join(format!("{name}.wasm")));
    built.filter(|path| path.exists()).unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/{name}.wasm"))
    })
}

/// Writes a module into a folder.
pub fn write(folder: &Path, name: &str, module: &[u8]) -> PathBuf {
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, module).unwrap();
    path
}

/// A handler component around this core module, which must export a memory, `cabi_realloc`,
/// `describe` and `handle`.
pub fn component(core: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (type $types (instance
                (type $event (record (field "id" string) (field "source" string) (field "type" string)
                    (field "category" (option string)) (field "delivery-id" (option string))
                    (field "received-at" u64) (field "content-type" string)))
                (export "event" (type (eq $event)))
                (type $code (enum "not-granted" "not-found" "invalid" "too-large" "too-many" "quota"
                    "unavailable" "other"))
                (export "refusal-code" (type $known-code (eq $code)))
                (type $refusal (record (field "code" $known-code) (field "message" string)))
                (export "refusal" (type $known-refusal (eq $refusal)))
                (type $failure (variant (case "retry" string) (case "reject" string)
                    (case "refused" $known-refusal)))
                (export "failure" (type (eq $failure)))))
            (import "weir:handler/types@0.1.0" (instance $known (type $types)))
            (alias export $known "event" (type $event))
            (alias export $known "failure" (type $failure))
            (core module $core {core})
            (core instance $made (instantiate $core))
            (func (export "describe") (canon lift (core func $made "describe")))
            (func (export "handle") (param "event" $event) (result (result (error $failure)))
                (canon lift (core func $made "handle") (memory (core memory $made "memory"))
                    (realloc (core func $made "cabi_realloc")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// The exports that a handler must have. They do nothing.
pub const IDLE: &str = r#"
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "describe"))
    (func (export "handle")
        (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
        (i32.const 16))"#;

/// A command with this body. `$print` writes this number of bytes from offset 64 to stdout.
pub fn command(body: &str) -> Vec<u8> {
    command_with("", body)
}

/// A command with this body and further definitions in its module.
fn command_with(more: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func $print (param $size i32)
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (local.get $size))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            {more}
            (func (export "_start") {body}))"#
    );
    wat::parse_str(text).unwrap()
}

/// A command that prints a line this many thousand times.
pub fn printing(line: &str, thousands: u32) -> Vec<u8> {
    let thousand = format!("{line}\n").repeat(1_000);
    let escaped = thousand.replace('"', "\\22").replace('\n', "\\0a");
    command_with(
        &format!(
            r#"(data (i32.const 64) "{escaped}") (global $left (mut i32) (i32.const {thousands}))"#
        ),
        &format!(
            "(loop (call $print (i32.const {}))
                (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                (br_if 0 (global.get $left)))",
            thousand.len()
        ),
    )
}

/// A command that prints this line, unless what it reads has one of these characters: then it
/// crashes. It does this many thousand steps of work first.
pub fn failing_on(characters: &str, line: &str, thousands: u32) -> Vec<u8> {
    let mut checks = String::new();
    for byte in characters.bytes() {
        write!(
            checks,
            "(if (i32.eq (i32.load8_u (i32.add (i32.const 65536) (local.get $at))) (i32.const {byte}))
                (then unreachable))"
        )
        .unwrap();
    }
    let (escaped, size) = (line.replace('"', "\\22"), line.len() + 1);
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 1024) "{escaped}\0a")
            (func (export "_start") (local $read i32) (local $at i32) (local $work i32)
                (local.set $work (i32.const {thousands}000))
                (loop $works
                    (local.set $work (i32.sub (local.get $work) (i32.const 1)))
                    (br_if $works (i32.gt_s (local.get $work) (i32.const 0))))
                (loop $more
                    (i32.store (i32.const 0) (i32.const 65536))
                    (i32.store (i32.const 4) (i32.const 65536))
                    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (local.set $read (i32.load (i32.const 8)))
                    (if (local.get $read) (then
                        (local.set $at (i32.const 0))
                        (loop $scan
                            {checks}
                            (local.set $at (i32.add (local.get $at) (i32.const 1)))
                            (br_if $scan (i32.lt_u (local.get $at) (local.get $read))))
                        (br $more))))
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const {size}))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    wat::parse_str(text).unwrap()
}

/// A command that takes gigabytes and many seconds to compile.
pub fn costly() -> Vec<u8> {
    command(&woven(3_000, 30_000))
}

/// A command that does nothing and takes seconds and little memory to compile.
pub fn slow() -> Vec<u8> {
    command_with(&format!("(func {})", woven(200, 1_000)).repeat(60), "")
}

/// A body with this many values alive across this many blocks. The compiler's work grows with the
/// product of both, the module only with their sum.
fn woven(values: u32, blocks: u32) -> String {
    let mut body = String::new();
    for n in 0..values {
        write!(body, "(local $v{n} i64)").unwrap();
    }
    for n in 0..values {
        write!(body, "(local.set $v{n} (i64.load (i32.const {})))", 8 * n).unwrap();
    }
    for n in 0..blocks {
        let (from, to) = (n % values, (n * 7 + 1) % values);
        write!(
            body,
            "(if (i32.load (i32.const {n})) (then (local.set $v{to} (i64.add (local.get $v{from}) (local.get $v{to})))))"
        )
        .unwrap();
    }
    for n in 0..values {
        write!(body, "(i64.store (i32.const {}) (local.get $v{n}))", 8 * n).unwrap();
    }
    body
}
