//! Handlers that no compiler would make, written as text or made of parts: WASI commands, because those need no
//! types around them.

use std::fmt::Write as _;

/// A command with this body; `$print` writes so many bytes from 64 on to stdout.
pub(crate) fn command(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func $print (param $size i32)
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (local.get $size))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func (export "_start") {body}))"#
    );
    wat::parse_str(text).unwrap()
}

/// A command of some hundred kilobytes whose one function has thousands of values alive through thousands of blocks:
/// what a compiler does about that grows with the product of both. `salt` makes modules differ.
pub(crate) fn costly(salt: u32) -> Vec<u8> {
    const VALUES: u32 = 3_000;
    const BLOCKS: u32 = 30_000;
    let mut body = String::new();
    for n in 0..VALUES {
        write!(body, "(local $v{n} i64)").unwrap();
    }
    for n in 0..VALUES {
        write!(body, "(local.set $v{n} (i64.load (i32.const {})))", 8 * n).unwrap();
    }
    for n in 0..BLOCKS {
        let (from, to) = (n % VALUES, (n * 7 + 1) % VALUES);
        write!(
            body,
            "(if (i32.load (i32.const {n})) (then (local.set $v{to} (i64.add (local.get $v{from}) (local.get $v{to})))))"
        )
        .unwrap();
    }
    for n in 0..VALUES {
        write!(body, "(i64.store (i32.const {}) (local.get $v{n}))", 8 * n + salt % 8).unwrap();
    }
    command(&body)
}
