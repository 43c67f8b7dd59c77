//! A real browser for tests: Debian's Chromium, without a window, over the WebDriver protocol.
//!
//! It finds `chromedriver` and `chromium` in the PATH. Where they are missing it says SKIPPED and
//! the test passes; in CI a line with that word is a failure.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wait::until;

/// The key under which the protocol names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropping it ends its processes.
pub struct Browser {
    driver: Child,
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _profile: TempDir,
}

/// The programs that a browser needs.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = std::env::var_os("PATH")?;
    let find = |names: &[&str]| {
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|file| file.is_file())
    };
    Some((find(&["chromedriver"])?, find(&["chromium", "chromium-browser", "google-chrome"])?))
}

impl Browser {
    /// Starts a browser; none, and a line that says so, where there is none.
    pub async fn start() -> Option<Self> {
        Self::start_with(json!({})).await
    }

    /// Starts a browser whose pages run no scripts.
    pub async fn start_without_scripts() -> Option<Self> {
        Self::start_with(json!({ "profile.managed_default_content_settings.javascript": 2 })).await
    }

    async fn start_with(preferences: Value) -> Option<Self> {
        let Some((driver, chromium)) = programs() else {
            eprintln!("SKIPPED: chromedriver and chromium are not in the PATH");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let (driver, port) = start_driver(&driver, profile.path());
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut browser =
            Self { driver, base: format!("http://127.0.0.1:{port}"), client, _profile: profile };
        let folder = browser._profile.path().join("profile");
        let args = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", folder.display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": args, "prefs": preferences },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.ask(Method::POST, "/session", &wanted).await.unwrap();
        let id = session["sessionId"].as_str().unwrap();
        browser.base = format!("{}/session/{id}", browser.base);
        browser.size(1440, 900).await;
        Some(browser)
    }

    /// Shows a page, and waits until it is loaded.
    pub async fn go(&self, address: &str) {
        self.ask(Method::POST, "/url", &json!({ "url": address })).await.unwrap();
    }

    /// The address of the page.
    pub async fn address(&self) -> String {
        self.get("/url").await.as_str().unwrap_or_default().to_owned()
    }

    /// The title of the page.
    pub async fn title(&self) -> String {
        self.get("/title").await.as_str().unwrap_or_default().to_owned()
    }

    /// The text that a reader sees of the first element that matches.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.element(selector).await;
        let text = self.get(&format!("/element/{element}/text")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The number of elements that match.
    pub async fn count(&self, selector: &str) -> u64 {
        let script = "return document.querySelectorAll(arguments[0]).length";
        self.run(script, json!([selector])).await.as_u64().unwrap_or_default()
    }

    /// Clicks on the first element that matches.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        let path = format!("/element/{element}/click");
        self.ask(Method::POST, &path, &json!({})).await.unwrap();
    }

    /// Clicks on the first link or button whose text contains this one.
    pub async fn click_text(&self, text: &str) {
        let script = "const all = [...document.querySelectorAll('main a, main button, main summary')];\
            const one = all.find((one) => one.offsetParent && one.textContent.includes(arguments[0]));\
            one?.scrollIntoView({ block: 'center' }); return one";
        let element = until(&format!("a link or button `{text}`"), async || {
            let found = self.run(script, json!([text])).await;
            found[ELEMENT].as_str().map(str::to_owned).ok_or_else(|| found.to_string())
        })
        .await;
        let path = format!("/element/{element}/click");
        self.ask(Method::POST, &path, &json!({})).await.unwrap();
    }

    /// Types into the first element that matches.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        let path = format!("/element/{element}/value");
        self.ask(Method::POST, &path, &json!({ "text": text })).await.unwrap();
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let key = |key: char| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let actions: Vec<_> = keys.chars().flat_map(key).collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.ask(Method::POST, "/actions", &body).await.unwrap();
    }

    /// Moves the pointer into the corner, away from everything.
    pub async fn point_away(&self) {
        let to = json!({ "type": "pointerMove", "duration": 0, "x": 1, "y": 1 });
        let body = json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": [to] }] });
        self.ask(Method::POST, "/actions", &body).await.unwrap();
    }

    /// Runs a script in the page. Returns what it returns.
    pub async fn run(&self, script: &str, args: Value) -> Value {
        let body = json!({ "script": script, "args": args });
        self.ask(Method::POST, "/execute/sync", &body).await.unwrap()
    }

    /// Runs a script that gives its result to its last argument, a function.
    pub async fn run_async(&self, script: &str, args: Value) -> Value {
        let body = json!({ "script": script, "args": args });
        self.ask(Method::POST, "/execute/async", &body).await.unwrap()
    }

    /// The picture of the window, as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        let picture = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        let text = picture["data"].as_str().unwrap();
        base64_bytes(text)
    }

    /// Sets the size of the page in pixels, also below that of the smallest window.
    pub async fn size(&self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets the zone of the browser.
    pub async fn zone(&self, name: &str) {
        let zone = json!({ "timezoneId": name });
        self.devtools("Emulation.setTimezoneOverride", zone).await;
    }

    /// Sends a command of the browser's own protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.ask(Method::POST, "/goog/cdp/execute", &body).await.unwrap()
    }

    /// The warnings and errors that the console of the browser got since the last call.
    pub async fn log(&self) -> Vec<String> {
        let lines = self.ask(Method::POST, "/se/log", &json!({ "type": "browser" })).await.unwrap();
        let matters = |line: &&Value| line["level"] == "SEVERE" || line["level"] == "WARNING";
        let text = |line: &Value| format!("{}: {}", line["level"], line["message"]);
        lines.as_array().unwrap().iter().filter(matters).map(text).collect()
    }

    /// Waits until the page has this text.
    pub async fn until_text(&self, selector: &str, text: &str) {
        until(&format!("`{text}` in {selector}"), async || {
            let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
            let seen = self.run(script, json!([selector])).await;
            let seen = seen.as_str().unwrap_or_default();
            if seen.contains(text) { Ok(()) } else { Err(seen.to_owned()) }
        })
        .await;
    }

    /// Waits for an element. Returns its id in the protocol.
    async fn element(&self, selector: &str) -> String {
        let wanted = json!({ "using": "css selector", "value": selector });
        until(&format!("the element {selector}"), async || {
            let found = self.ask(Method::POST, "/element", &wanted).await?;
            Ok(found[ELEMENT].as_str().unwrap().to_owned())
        })
        .await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, &Value::Null).await.unwrap()
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .unwrap();
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_slice(&bytes.to_bytes()).unwrap_or_default();
        let value = answer["value"].take();
        if status.is_success() { Ok(value) } else { Err(format!("{path}: {value}")) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver leaves its browser behind; both are in one group of processes.
        let group = format!("-{}", self.driver.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(self.driver.wait());
    }
}

/// Starts the driver, and finds its port.
///
/// The driver takes a free port of IPv4, and then the same port of IPv6. Another program may have
/// that one, and the driver ends; so it is started again.
fn start_driver(program: &Path, home: &Path) -> (Child, u16) {
    let mut said = String::new();
    for _ in 0..10 {
        let mut driver = Command::new(program)
            .args(["--port=0", "--log-level=SEVERE"])
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        match port_of(&mut driver) {
            Ok(port) => return (driver, port),
            Err(lines) => said = lines,
        }
        drop(driver.wait());
    }
    panic!("the browser's driver did not start. It said:\n{said}");
}

/// The port that the driver chose, from the line that it prints. Without one, all that it printed.
fn port_of(driver: &mut Child) -> Result<u16, String> {
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let mut said = String::new();
    for line in lines.map_while(Result::ok) {
        let port = line.split_once("started successfully on port ");
        if let Some(port) = port.and_then(|(_, port)| port.trim_end_matches('.').parse().ok()) {
            return Ok(port);
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(said)
}

/// The bytes of a text in base64.
fn base64_bytes(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in text.bytes() {
        let Some(value) = LETTERS.iter().position(|one| *one == letter) else { continue };
        bits = (bits << 6) | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    bytes
}
