//! Values for the arguments of commands, and the pairs that are refused together.

use clap::Arg;
use weir_testing::hub::SECRET;

use super::{Stage, new_name};

/// A value for an argument. None if the test does not know the argument.
pub(super) fn sample(stage: &Stage, path: &str, arg: &str) -> Option<String> {
    let said = match (path, arg) {
        ("backup", "to") | ("init", "folder") | ("new", "dir") => return Some(new_name(path)),
        ("new", "name") => return Some(new_name("rule")),
        ("new", "lang") => "c",
        ("restore", "from") => "backup.db",
        ("backtest", "from") => "current",
        ("completions", "shell") => "bash",
        ("man", "to") => "pages",
        ("top", "every") => "200ms",
        ("stats", "step") => "30m",
        ("init", "handler") => "log-everything",
        ("init", "destination") => "https://chat.example.com/hooks/dev",
        ("init", "params") => "none=such",
        ("init", "public_url") => "https://hooks.example.com",
        ("events" | "why", "id") | ("replay", "event") => &stage.event,
        ("dead-letters show" | "dead-letters requeue", "id") | ("replay", "delivery") => {
            &stage.dead
        }
        ("dead-letters discard", "ids") => "dlv_01K9ZR3V6QH8N4T2M5W7XADCBE",
        ("quarantine show", "id") | ("quarantine release", "ids") => {
            "qrt_01K9ZR3V6QH8N4T2M5W7XADCBE"
        }
        ("events" | "replay" | "find" | "logs", "key") => "order=1234",
        ("erase", "id") => &stage.spare,
        ("erase", "key") => "order=1234",
        ("find", "text") => "ref",
        ("find", "time_limit") => "30s",
        ("handlers rename", "old") => "ghost",
        ("handlers rename", "new") => "other",
        ("handlers diff", "from" | "to") | ("handlers rollback", "version") => "ab",
        ("handlers pin", "version") => return Some(stage.version.clone()),
        ("handlers pause" | "handlers pin" | "handlers rollback", "reason") => "a bad day",
        ("handlers pause", "until") | ("handlers state set", "expires") => "2h",
        ("handlers state import", "file") => "state.jsonl",
        (path, "key" | "prefix") if path.starts_with("handlers ") => "n",
        ("handlers state set", "value") => "5",
        ("tokens create" | "tokens revoke", "name") => "ci",
        ("tokens create", "role") => "read",
        ("audit", "who") => "operator",
        ("audit", "act") => "hold",
        ("audit", "subject") => "destination:sink",
        ("audit", "outcome") => "done",
        ("events", "save") => return Some(new_name("saved")),
        ("run" | "sign" | "backtest", "file") | ("check", "module") | ("backtest", "incumbent") => {
            "plugins/teller.wasm"
        }
        ("rerun", "attempt") => &stage.attempt,
        ("sign", "key") => "signing.key",
        ("sign", "new_key") => return Some(new_name("key")),
        ("backtest", "handler") => "teller",
        ("backtest", "sample" | "jobs" | "show") => "2",
        ("run", "event") => "event.json",
        ("run", "sample") => "github:push",
        ("run", "settings") => "a=b",
        ("run", "state") => "state.json",
        ("run", "attempt") => "2",
        ("run", "seed") => return Some("0".repeat(64)),
        ("test", "path") => "plugins",
        (_, "hub") => "weir.toml",
        ("events" | "find" | "logs" | "replay", "category") => "updated",
        ("events" | "find" | "logs", "handler") => "teller",
        ("events" | "find" | "logs", "destination") => "sink",
        ("tokens create", "expires") => "30d",
        ("retry" | "cancel", "id") => &stage.dead,
        ("retry", "destination") | ("replay", "to") => "sink",
        ("retry", "handler") => "teller",
        ("hold" | "release", "scope") => "destination:sink",
        ("hold", "until") | ("sources accept-secret", "time") => "1h",
        ("hold", "reason") => "a bad day",
        ("probe", "url") => {
            return Some(format!("http://{}/webhook/github", stage.hub.ingress));
        }
        ("probe", "allow") => "@private",
        ("probe", "ca") => "weir.toml",
        ("probe", "timeout") => "30s",
        ("probe", "secret") => SECRET,
        ("probe", "params") => "none=such",
        ("send" | "probe", "kind") => "push",
        ("send", "file") => "body.json",
        ("send", "set") => "/ref=refs/heads/other",
        ("send", "header") => "x-test: one",
        ("send" | "probe", "provider") | ("providers show", "name") | (_, "source") => "github",
        ("send", "secret") => SECRET,
        ("send", "method") => "POST",
        ("send", "count") => "2",
        ("send", "params") => "none=such",
        ("send", "url") => "http://127.0.0.1:9/webhook/github",
        ("secret generate", "provider") => "standard-webhooks",
        ("secret generate", "scheme") => "v1",
        ("providers test", "file") => "github.toml",
        (path, "name") if path.starts_with("handlers ") => "teller",
        (path, "name") if path.starts_with("jobs ") => "a-job",
        ("replay", "request") => return Some(new_name("a-name")),
        (_, "kind") => "pu*",
        (_, "status") => "processed",
        (_, "since") => "1h",
        (_, "until") => "1ms",
        (_, "limit") => "5",
        (_, "target") => "destination:sink",
        (_, "rate") => "1000/s",
        (_, "request") => "a-name",
        (_, "config") => "weir.toml",
        (_, "admin") => return Some(format!("http://{}", stage.hub.admin)),
        (_, "token") => stage.token.trim(),
        _ => return None,
    };
    Some(said.to_owned())
}

/// Pairs of flags that may be refused together.
pub(super) fn fails_by_itself(path: &str, args: &[&Arg]) -> bool {
    let has = |ids: &[&str]| args.iter().any(|arg| ids.contains(&arg.get_id().as_str()));
    match path {
        "send" => has(&["url", "params"]),
        // It writes into the folder of the hub if no other is named, and that one has a file.
        "init" => has(&["params"]) || !has(&["folder"]),
        // It draws on a terminal, and this is none.
        "top" => !has(&["json"]),
        "events" => has(&["save"]) && !has(&["id"]),
        "handlers state clear" => !has(&["yes"]),
        // It signs a module with a key, or makes a key.
        "sign" => {
            !has(&["new_key"]) && args.iter().filter(|a| a.get_id().as_str() != "json").count() < 2
        }
        // These are about the sample.
        "probe" if has(&["provider"]) => has(&["params"]),
        "probe" => has(&["kind", "secret"]),
        // It needs an event.
        "run" => !has(&["event", "sample"]),
        "new" => has(&["list"]) && has(&["name", "lang", "dir"]),
        _ => false,
    }
}
