//! Hostile modules and files for a plugins folder, by name, with the outcome of each.
//!
//! `host/docs/security.md` lists them too; a test compares the lists.

use std::path::{Path, PathBuf};

use crate::guests::{IDLE, command, committed, component, printing, write};
use crate::hub::{RunningHub, TestHub};
use crate::sink::Sink;

/// A handler whose runs fail.
pub struct Runs {
    pub name: &'static str,
    what: What,
    /// The outcome of its attempt.
    pub outcome: &'static str,
    /// A part of the attempt's reason.
    pub reason: &'static str,
}

enum What {
    /// The test handler `probe` with this step.
    Step(&'static str),
    /// A command that no compiler would make.
    Command(Vec<u8>),
}

impl Runs {
    /// The path of its module.
    pub fn module(&self, folder: &Path) -> PathBuf {
        match &self.what {
            What::Step(_) => committed("probe"),
            What::Command(bytes) => write(folder, self.name, bytes),
        }
    }

    /// Its sidecar: subscribed to GitHub events of this type, one attempt, and a grant for `sink`.
    pub fn sidecar(&self, kind: &str) -> String {
        let steps = match self.what {
            What::Step(step) => format!("[config]\nsteps = '''[{step}]'''\n"),
            What::Command(_) => String::new(),
        };
        // A run that ends by itself gets enough time for that, also on a slow machine.
        let time = if self.outcome == "timeout" { "500ms" } else { "20s" };
        let memory = if self.name.contains("140-mib") { "400MiB" } else { "16MiB" };
        format!(
            "on = [\"github:{kind}\"]\n{steps}[limits]\nmemory = \"{memory}\"\ntime = \"{time}\"\n\
             [retry]\nmax_attempts = 1\n[grant]\ndestinations = [\"sink\"]\n"
        )
    }
}

/// Handlers that load and then misbehave.
pub fn runs() -> Vec<Runs> {
    let components = [
        ("loops", r#"{"op":"loop"}"#, "timeout", "500ms"),
        ("floods-the-log", r#"{"op":"flood"}"#, "timeout", "500ms"),
        ("grows-memory", r#"{"op":"grow"}"#, "out_of_memory", "may have 16777216"),
        ("recurses", r#"{"op":"recurse"}"#, "stack_overflow", "endless recursion"),
        ("panics", r#"{"op":"panic","message":"on purpose"}"#, "crashed", "on purpose"),
        (
            "sends-140-mib",
            r#"{"op":"send","destination":"sink","size":146800640}"#,
            "too_much_data",
            "",
        ),
        (
            "sends-300000-times",
            r#"{"op":"send","destination":"sink","size":10,"times":300000,"must":true}"#,
            "refused",
            "1000 times",
        ),
        (
            "sends-elsewhere",
            r#"{"op":"send","destination":"elsewhere","body":"x","must":true}"#,
            "refused",
            "elsewhere",
        ),
        ("emits-unasked", r#"{"op":"emit","type":"x","body":"x","must":true}"#, "refused", "emit"),
    ];
    let components =
        components.map(|(name, step, outcome, reason)| (name, What::Step(step), outcome, reason));
    let commands = commands()
        .map(|(name, bytes, outcome, reason)| (name, What::Command(bytes), outcome, reason));
    let one = |(name, what, outcome, reason)| Runs { name, what, outcome, reason };
    components.into_iter().chain(commands).map(one).collect()
}

type Command = (&'static str, Vec<u8>, &'static str, &'static str);

fn commands() -> [Command; 12] {
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let started = |start: &str| {
        wat(&format!(
            r#"(module (memory (export "memory") 1) (table $t 1 funcref) (func $s {start}) (start $s)
                (func (export "_start")))"#
        ))
    };
    [
        ("command-start-loops", started("(loop (br 0))"), "timeout", "500ms"),
        ("command-start-traps", started("unreachable"), "crashed", "unreachable"),
        (
            "command-grows-memory",
            command("(loop (drop (memory.grow (i32.const 16))) (br 0))"),
            "out_of_memory",
            "may have 16777216",
        ),
        (
            "command-asks-for-64-mib",
            wat(r#"(module (memory (export "memory") 1000) (func (export "_start")))"#),
            "out_of_memory",
            "may have 16777216",
        ),
        // It is refused at 30,000 elements, and gives up where a real program would go on.
        (
            "command-grows-table",
            started(
                "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
                (if (i32.gt_u (table.size $t) (i32.const 30000)) (then (loop (br 0)))) unreachable",
            ),
            "crashed",
            "unreachable",
        ),
        ("command-recurses", started("(call $s)"), "stack_overflow", "endless recursion"),
        (
            "command-prints-for-ever",
            command("(loop (call $print (i32.const 65536)) (br 0))"),
            "too_much_data",
            "bytes on stdout",
        ),
        ("command-prints-300000-lines", printing("", 300), "too_much_data", "10000 lines"),
        (
            "command-sends-300000-times",
            printing(r#"{"effect":"send","destination":"sink","body":"x"}"#, 300),
            "refused",
            "line 1001 of stdout",
        ),
        (
            "command-prints-no-utf-8",
            command("(i32.store (i32.const 64) (i32.const 0x0afffe22)) (call $print (i32.const 4))"),
            "bad_output",
            "not UTF-8",
        ),
        (
            "command-points-far-away",
            command("(drop (call $fd_write (i32.const 1) (i32.const 0x7fffffff) (i32.const 9) (i32.const 8)))"),
            "crashed",
            "",
        ),
        (
            "command-floods-stderr",
            command(
                "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 9999))
                (loop (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))",
            ),
            "timeout",
            "500ms",
        ),
    ]
}

/// A hub with every hostile handler, subscribed to GitHub events of this type, and one ordinary
/// handler that sends each push to the sink.
pub async fn hub_of_all(sink: &Sink, kind: &str) -> RunningHub {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = TestHub::new()
        .github()
        .destination("sink", sink, "")
        .handler("neighbour", "version-a")
        .sidecar("neighbour", "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n");
    for fixture in runs() {
        let module = fixture.module(folder.path());
        hub = hub.module(fixture.name, &module).sidecar(fixture.name, &fixture.sidecar(kind));
    }
    let hub = hub.start().await;
    hub.until_ready("neighbour").await;
    for fixture in runs() {
        hub.until_ready(fixture.name).await;
    }
    hub
}

/// A file that never replaces a version that works.
pub struct Refused {
    pub name: &'static str,
    what: File,
    /// A part of the refusal's reason.
    pub reason: &'static str,
}

enum File {
    Of(Vec<u8>),
    Guest(&'static str),
    Long(u64),
    LinkTo(PathBuf),
    Folder,
}

impl Refused {
    /// Puts the file at `path` in one step.
    pub fn put(&self, path: &Path) {
        let beside = path.with_extension("beside");
        match &self.what {
            File::Of(bytes) => std::fs::write(&beside, bytes).unwrap(),
            File::Guest(name) => drop(std::fs::copy(committed(name), &beside).unwrap()),
            File::Long(bytes) => std::fs::File::create(&beside).unwrap().set_len(*bytes).unwrap(),
            File::LinkTo(target) => std::os::unix::fs::symlink(target, &beside).unwrap(),
            File::Folder => {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir(&beside).unwrap();
            }
        }
        std::fs::rename(beside, path).unwrap();
    }
}

/// The files that are refused. The last one cannot be replaced by a file again.
pub fn refused() -> Vec<Refused> {
    let wat = |text: &str| File::Of(wat::parse_str(text).unwrap());
    let half = std::fs::read(committed("noop")).unwrap()[..5_000].to_vec();
    let start = component(&format!("(func $s (loop (br 0))) (start $s) {IDLE}"));
    let all = [
        ("garbage", File::Of(b"this is not WebAssembly".to_vec()), "not a WebAssembly"),
        ("empty", File::Of(Vec::new()), "empty"),
        ("half-a-module", File::Of(half), "does not compile"),
        ("no-command", wat("(module (func (export \"f\")))"), "_start"),
        ("wrong-world", wat("(component)"), "world `handler`"),
        ("foreign-import", wat("(component (import \"acme:db/sql@1.0.0\" (instance)))"), "acme:db"),
        ("contract-0-1-2", File::Guest("contract-0-1-2"), "needs contract 0.1.2 (state.get-bytes)"),
        ("contract-0-2-0", File::Guest("contract-0-2-0"), "needs contract 0.2.0"),
        ("start-loops", File::Of(start), "limit of 1s"),
        ("describe-traps", File::Guest("describe-traps"), "describe failed: "),
        (
            "describe-loops",
            File::Guest("describe-loops"),
            "describe failed: ran past its limit of 1s",
        ),
        ("200-mb", File::Long(200_000_000), "200000000 bytes"),
        (
            "link-out-of-the-folder",
            File::LinkTo(committed("version-a")),
            "out of the plugins folder",
        ),
        ("folder", File::Folder, "not a regular file"),
    ];
    all.into_iter().map(|(name, what, reason)| Refused { name, what, reason }).collect()
}
