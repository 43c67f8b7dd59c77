//! Private servers: started on a free port with their files in a folder of their own, stopped and
//! started again on the same port and files, and killed with the test.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::net::TcpStream;
use weir_testing::wait::until;

/// Makes the command that starts a server with its files in a folder and on a port.
type MakeCommand = Box<dyn Fn(&Path, u16) -> Command + Send + Sync>;

/// A server that the test may stop and start.
pub(crate) struct TestServer {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    command: MakeCommand,
    process: Option<Child>,
    /// The signal by which an operator stops it.
    pub(crate) stop_signal: &'static str,
}

impl TestServer {
    /// Starts a server and waits until it accepts connections. None if its program is not on this
    /// machine.
    pub(crate) async fn start(
        program: &str,
        command: impl Fn(&Path, u16) -> Command + Send + Sync + 'static,
    ) -> Option<Self> {
        if !is_there(program) {
            assert!(std::env::var_os("CI").is_none(), "{program} is not on this machine");
            eprintln!("SKIPPED: {program} is not on this machine");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            folder,
            port: free_port(),
            command: Box::new(command),
            process: None,
            stop_signal: "TERM",
        };
        server.start_again().await;
        Some(server)
    }

    /// Starts the stopped server on the same port and files.
    pub(crate) async fn start_again(&mut self) {
        let mut command = (self.command)(self.folder.path(), self.port);
        let log = std::fs::File::create(self.folder.path().join("server.log")).unwrap();
        // A group of its own, so that processes which it starts end with it.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let address = self.address();
        until("the server to listen", async || match TcpStream::connect(address).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}\n{}", self.log())),
        })
        .await;
    }

    /// Stops the server as an operator does, and waits until it has ended.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        signal(process.id(), self.stop_signal);
        until("the server to stop", async || {
            process.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
        .await;
        end_group(process.id());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            end_group(process.id());
            drop(process.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", self.log());
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let args = [&format!("-{name}"), &process.to_string()];
    assert!(Command::new("kill").args(args).status().unwrap().success());
}

/// Kills what is left of a group of processes.
fn end_group(group: u32) {
    let args = ["-KILL", "--", &format!("-{group}")];
    drop(Command::new("kill").args(args).stderr(Stdio::null()).status());
}

/// A free port below those that the kernel gives to outgoing connections: none of them takes it
/// before the server does.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n =
            std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + n % COUNT).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// True for a program on the PATH, or at this path.
fn is_there(program: &str) -> bool {
    let found = |folder: PathBuf| folder.join(program).is_file();
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(found))
}
