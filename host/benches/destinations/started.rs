//! The servers, each with what its destination needs: a stream, a queue, a table.

use std::path::Path;
use std::process::Command;

use weir_testing::wait::until;

use crate::servers::{TestServer, free_port};

/// The kinds that are measured.
pub(crate) const KINDS: [&str; 6] = ["redis", "nats", "rabbitmq", "postgres", "mqtt", "file"];

const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const TABLE: &str = "CREATE TABLE events (id text, headers jsonb, body jsonb NOT NULL)";

/// A server at work, and the settings of a destination that leads to it.
pub(crate) struct Started {
    /// None for a file.
    pub(crate) server: Option<TestServer>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) settings: String,
}

impl Started {
    pub(crate) fn address(&self) -> String {
        self.server.as_ref().map_or_else(String::new, |server| server.address().to_string())
    }
}

/// Starts the server of a kind; none if its program is not here.
pub(crate) async fn server(kind: &str) -> Option<Started> {
    let folder = tempfile::tempdir().unwrap();
    if kind == "file" {
        let path = folder.path().join("of-the-hub.jsonl");
        let settings =
            format!("kind = \"file\"\npath = \"{}\"\nmax_bytes = \"1GiB\"", path.display());
        return Some(Started { server: None, folder, settings });
    }
    let server = match kind {
        "redis" => TestServer::start("redis-server", redis).await,
        "nats" => TestServer::start("nats-server", nats).await,
        "rabbitmq" => rabbitmq().await,
        "postgres" => TestServer::start("postgres", postgres).await,
        _ => TestServer::start("mosquitto", mosquitto).await,
    }?;
    let at = server.address();
    let settings = match kind {
        "redis" => format!("kind = \"redis\"\nurl = \"redis://{at}\"\nstream = \"events\""),
        "nats" => format!("kind = \"nats\"\nurl = \"nats://{at}\"\nsubject = \"events\""),
        "rabbitmq" => format!("kind = \"rabbitmq\"\nurl = \"amqp://{at}\"\nqueue = \"events\""),
        "postgres" => format!(
            "kind = \"postgres\"\nurl = \"postgres://{at}/postgres\"\n\
             statement = \"INSERT INTO events VALUES ($1, $2, $3)\"\n\
             parameters = [\"id\", \"headers\", \"body\"]"
        ),
        _ => format!("kind = \"mqtt\"\nurl = \"mqtt://{at}\"\ntopic = \"events\""),
    };
    let started = Started { server: Some(server), folder, settings };
    prepare(kind, &started).await;
    Some(started)
}

async fn prepare(kind: &str, started: &Started) {
    let at = started.address();
    match kind {
        "nats" => {
            let client = async_nats::connect(format!("nats://{at}")).await.unwrap();
            let config = async_nats::jetstream::stream::Config {
                name: "events".into(),
                subjects: vec!["events".into()],
                ..Default::default()
            };
            async_nats::jetstream::new(client).create_stream(config).await.unwrap();
        }
        "rabbitmq" => {
            let connection = until("RabbitMQ to answer", async || {
                let properties = lapin::ConnectionProperties::default();
                let url = format!("amqp://{at}/%2f");
                lapin::Connection::connect(&url, properties).await.map_err(|e| e.to_string())
            })
            .await;
            let channel = connection.create_channel().await.unwrap();
            let options =
                lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_declare("events".into(), options, Default::default()).await.unwrap();
        }
        "postgres" => {
            let client = until("PostgreSQL to answer", async || {
                crate::clients::postgres(&at).await.map_err(|e| e.to_string())
            })
            .await;
            client.batch_execute(TABLE).await.unwrap();
        }
        _ => {}
    }
}

fn redis(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    command.args(["--port", &port, "--bind", "127.0.0.1", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always", "--save", "", "--dir"]).arg(folder);
    command
}

fn nats(folder: &Path, port: u16) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
    command
}

fn mosquitto(folder: &Path, port: u16) -> Command {
    let file = folder.join("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(file);
    command
}

async fn rabbitmq() -> Option<TestServer> {
    let name = format!("weir-{}@localhost", free_port());
    let (node_port, mapper_port) = (free_port().to_string(), free_port().to_string());
    TestServer::start(RABBITMQ, move |folder, port| {
        let file = |name: &str| folder.join(name);
        std::fs::write(file("enabled_plugins"), "[].\n").unwrap();
        let listen = format!("listeners.tcp.1 = 127.0.0.1:{port}\n");
        std::fs::write(file("rabbitmq.conf"), listen).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("epmd -port {mapper_port} & exec {RABBITMQ}")])
            .env("ERL_EPMD_PORT", &mapper_port)
            .env("RABBITMQ_NODENAME", &name)
            .env("RABBITMQ_DIST_PORT", &node_port)
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            // A start that fails leaves no dump in the working folder.
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("HOME", folder);
        command
    })
    .await
}

fn postgres(folder: &Path, port: u16) -> Command {
    let data = folder.join("data");
    if !data.exists() {
        std::fs::create_dir(&data).unwrap();
        for path in [folder, &data] {
            assert!(Command::new("chmod").arg("777").arg(path).status().unwrap().success());
        }
        drop(Command::new("chown").arg("postgres").arg(&data).status());
        let args = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"];
        let initdb = beside_postgres("initdb");
        let made = unprivileged(&initdb).args(args).arg(&data).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let mut command = unprivileged("postgres");
    command.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-D"]).arg(&data);
    command
}

fn beside_postgres(program: &str) -> String {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut paths = versions.map(|version| version.path().join("bin").join(program));
    let found = paths.find(|path| path.exists());
    found.map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

/// The programs of that server do not run as root.
fn unprivileged(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}
