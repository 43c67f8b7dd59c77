//! `postgres`: a table of a real server.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use crate::outage::{self, Arrived};
use crate::servers::TestServer;
use crate::wrong;

const TABLE: &str = "CREATE TABLE events (n bigserial, id text PRIMARY KEY, source text, type text, \
                     headers jsonb, body jsonb NOT NULL)";
const STATEMENT: &str = "statement = \"INSERT INTO events (id, source, type, headers, body) VALUES \
                         ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING\"\n\
                         parameters = [\"id\", \"source\", \"type\", \"headers\", \"body\"]\n";

/// The programs of a server do not run as root.
fn unprivileged(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
    command
}

/// A server whose user `postgres` needs no password and whose user `weir` has none.
async fn start() -> Option<TestServer> {
    let mut server = TestServer::start("postgres", |folder: &Path, port| {
        let data = folder.join("data");
        if !data.exists() {
            std::fs::create_dir(&data).unwrap();
            let open = |path: &Path| drop(Command::new("chmod").arg("777").arg(path).status());
            open(folder);
            open(&data);
            let owner = Command::new("chown").arg("postgres").arg(&data).status();
            assert!(owner.is_ok());
            let args = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-D"];
            let made = initdb().args(args).arg(&data).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let mut command = unprivileged("postgres");
        command.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-D"]).arg(&data);
        command.current_dir("/");
        command
    })
    .await?;
    // After the other one it would wait for the clients.
    server.stop_signal = "INT";
    Some(server)
}

fn initdb() -> Command {
    let beside = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = beside.map(|version| version.path().join("bin/initdb")).find(|path| path.exists());
    let program = found.map_or("initdb".to_owned(), |path| path.display().to_string());
    let mut command = unprivileged(&program);
    command.current_dir("/");
    command
}

fn destination(server: &TestServer, more: &str) -> String {
    format!(
        "[destinations.out]\nkind = \"postgres\"\nurl = \"postgres://{}/postgres\"\n\
         allow = [\"@private\"]\ntimeout = \"5s\"\n{}\n{more}",
        server.address(),
        outage::BREAKER,
    )
}

async fn hub(server: &TestServer) -> RunningHub {
    let config = format!("{}\n{}", destination(server, STATEMENT), outage::ROUTE);
    TestHub::new().github().config(&config).start().await
}

/// Runs statements as the owner of the database.
async fn run(server: &TestServer, statements: &str) -> Vec<tokio_postgres::SimpleQueryMessage> {
    let url = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port);
    let client = until("the database to accept connections", async || {
        let opened = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
        let (client, driving) = opened.map_err(|error| error.to_string())?;
        tokio::spawn(driving);
        Ok(client)
    })
    .await;
    client.simple_query(statements).await.unwrap()
}

/// Sets whether new transactions may only read, and waits until it is so.
async fn read_only(server: &TestServer, value: &str) {
    run(server, &format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await;
    run(server, "SELECT pg_reload_conf()").await;
    until("the setting to be in force", async || {
        for message in run(server, "SHOW default_transaction_read_only").await {
            let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
            if row.get(0) == Some(value) {
                return Ok(());
            }
        }
        Err("the other one".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_gets_every_message_once_and_in_order() {
    let Some(server) = start().await else { return };
    run(&server, TABLE).await;
    let hub = hub(&server).await;
    let server = tokio::sync::Mutex::new(server);
    let away = async || server.lock().await.stop().await;
    let back = async || server.lock().await.start_again().await;
    outage::run(&hub, away, back).await;
    let server = server.into_inner();
    let rows = run(&server, "SELECT id, body, type, headers FROM events ORDER BY n").await;
    let mut arrived = Vec::new();
    for row in &rows {
        let tokio_postgres::SimpleQueryMessage::Row(row) = row else { continue };
        let body: Value = serde_json::from_str(row.get("body").unwrap()).unwrap();
        let headers: Value = serde_json::from_str(row.get("headers").unwrap()).unwrap();
        assert_eq!((row.get("type"), &headers["weir-source"]), (Some("push"), &"github".into()));
        arrived.push(Arrived::new(row.get("id").unwrap(), &body));
    }
    assert_eq!(arrived.len(), outage::MESSAGES, "the primary key permits no duplicate");
    outage::judge(&hub, "postgres", &arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(mut server) = start().await else { return };
    server.stop().await;
    let hub = hub(&server).await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("cannot be reached"), "{said}");
    server.start_again().await;
    // The table is not there yet.
    let (ok, said) = wrong::checked(&destination(&server, STATEMENT));
    assert!(!ok && said.contains("make what is missing"), "{said}");
    run(&server, TABLE).await;
    outage::until_state(&hub, "ok").await;
    // Read-only, as a replica is.
    read_only(&server, "on").await;
    let said = wrong::reason(&hub, 1).await;
    assert!(said.contains("name the primary server"), "{said}");
    read_only(&server, "off").await;
    outage::until_state(&hub, "ok").await;
    // A body that the column cannot have is about the message alone.
    let event = hub.push("push", "null", b"{\"key\":1,\"text\":\"\\u0000\"}").await.accepted();
    let dead = hub.until_status(&event, "dead_letter").await;
    assert!(dead.to_string().contains("does not fit its column"), "{dead}");
    let event = hub.push("push", "fine", b"{\"key\":1,\"n\":1}").await.accepted();
    hub.until_status(&event, "processed").await;

    run(&server, "CREATE ROLE reader LOGIN").await;
    let (ok, said) =
        wrong::checked(&destination(&server, &format!("user = \"stranger\"\n{STATEMENT}")));
    assert!(!ok && said.contains("set user and password"), "{said}");
    let lost = destination(&server, STATEMENT).replace("/postgres\"", "/nowhere\"");
    let (ok, said) = wrong::checked(&lost);
    assert!(!ok && said.contains("name another database"), "{said}");
    let (ok, said) = wrong::checked(&destination(&server, &format!("tls = true\n{STATEMENT}")));
    assert!(!ok && said.contains("TLS"), "{said}");
    let at = wrong::garbage().await;
    let config = destination(&server, STATEMENT);
    let (ok, said) =
        wrong::checked(&config.replace(&server.address().to_string(), &at.to_string()));
    assert!(!ok && said.contains("does not answer as PostgreSQL does"), "{said}");
    let (ok, said) = wrong::checked(&config.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
    let (ok, said) = wrong::checked(&config.replace("$5)", "$6)"));
    assert!(!ok && said.contains("has 5 facts, but the statement has 6"), "{said}");
}
