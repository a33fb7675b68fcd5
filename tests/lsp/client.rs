//! An editor: it starts `din lsp`, writes messages to it, and waits for each answer.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An answer that takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Editor {
    server: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    next: i32,
    versions: HashMap<String, i32>,
    /// The faults that were published last, by document.
    pub published: HashMap<String, Value>,
    /// How long the answers took, by method.
    pub times: HashMap<String, Vec<Duration>>,
    pub capabilities: Value,
    /// Where the server keeps files.
    pub cache: TempDir,
}

/// How a request was refused.
#[derive(Debug)]
pub struct Refused {
    pub code: i64,
    pub message: String,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

pub fn uri(path: &Path) -> String {
    format!("file://{}", path.to_str().unwrap().replace(' ', "%20"))
}

pub fn path_of(uri: &str) -> PathBuf {
    PathBuf::from(uri.strip_prefix("file://").unwrap().replace("%20", " "))
}

impl Editor {
    /// An editor of the workspace `folder`.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &["utf-16"])
    }

    pub fn start_with(folder: &Path, encodings: &[&str]) -> Self {
        let cache = TempDir::new().unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_din"))
            .arg("lsp")
            .env("XDG_CACHE_HOME", cache.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = server.stdin.take();
        let mut from = BufReader::new(server.stdout.take().unwrap());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            while let Some(message) = message(&mut from) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut editor = Self {
            server,
            to,
            from: receiver,
            next: 0,
            versions: HashMap::new(),
            published: HashMap::new(),
            times: HashMap::new(),
            capabilities: Value::Null,
            cache,
        };
        let params = json!({
            "processId": null,
            "rootUri": uri(folder),
            "workspaceFolders": [{ "uri": uri(folder), "name": "specs" }],
            "capabilities": { "general": { "positionEncodings": encodings } },
        });
        editor.capabilities = editor.ask("initialize", params)["capabilities"].clone();
        editor.tell("initialized", json!({}));
        editor
    }

    fn write(&mut self, message: &Value) {
        let text = message.to_string();
        let to = self.to.as_mut().unwrap();
        write!(to, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        to.flush().unwrap();
    }

    pub fn tell(&mut self, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// The result of a request; `Err` where it was refused.
    pub fn request(&mut self, method: &str, params: Value) -> Result<Value, Refused> {
        self.next += 1;
        let id = self.next;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let begun = Instant::now();
        loop {
            let message = self.receive(method);
            if message["id"] != json!(id) {
                continue;
            }
            self.times.entry(method.to_owned()).or_default().push(begun.elapsed());
            return match message.get("error") {
                None => Ok(message["result"].clone()),
                Some(error) => Err(Refused {
                    code: error["code"].as_i64().unwrap(),
                    message: error["message"].as_str().unwrap().to_owned(),
                }),
            };
        }
    }

    /// The next message; what is published is kept.
    fn receive(&mut self, waiting_for: &str) -> Value {
        let message = self.from.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{waiting_for}: {e}"));
        if message["method"] == "textDocument/publishDiagnostics" {
            let params = &message["params"];
            self.published.insert(params["uri"].as_str().unwrap().to_owned(), params.clone());
        }
        message
    }

    /// The result of a request that is never refused.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        match self.request(method, params.clone()) {
            Ok(result) => result,
            Err(refused) => panic!("{method} {params}: {refused:?}"),
        }
    }

    pub fn open(&mut self, path: &Path, text: &str) -> String {
        let uri = uri(path);
        self.versions.insert(uri.clone(), 1);
        let document = json!({ "uri": uri, "languageId": "din", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": document }));
        uri
    }

    /// Replaces a range by a text, or the whole text.
    pub fn change(&mut self, uri: &str, range: Option<Value>, text: &str) {
        let version = self.versions.get_mut(uri).unwrap();
        *version += 1;
        let mut change = json!({ "text": text });
        if let Some(range) = range {
            change["range"] = range;
        }
        let document = json!({ "uri": uri, "version": *version });
        self.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": [change] }));
    }

    pub fn close(&mut self, uri: &str) {
        self.tell("textDocument/didClose", json!({ "textDocument": { "uri": uri } }));
    }

    /// The faults of a document in its present version.
    pub fn faults(&mut self, uri: &str) -> Vec<Value> {
        let version = self.versions[uri];
        loop {
            if let Some(found) = self.published.get(uri).filter(|p| p["version"] == json!(version)) {
                return found["diagnostics"].as_array().unwrap().clone();
            }
            self.receive("publishDiagnostics");
        }
    }

    #[track_caller]
    pub fn at(&mut self, method: &str, uri: &str, position: &Value) -> Value {
        self.ask(method, json!({ "textDocument": { "uri": uri }, "position": position }))
    }

    /// Ends the server as an editor does, and checks that it ends well.
    pub fn end(mut self) {
        self.ask("shutdown", Value::Null);
        self.tell("exit", Value::Null);
        self.to = None;
        let begun = Instant::now();
        loop {
            match self.server.try_wait().unwrap() {
                Some(status) => return assert!(status.success(), "{status}"),
                None if begun.elapsed() > PATIENCE => panic!("`exit` does not end the server"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // Of a test that failed; one that ended is gone.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn message(from: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            header => {
                if let Some(number) = header.strip_prefix("Content-Length: ") {
                    length = number.parse().unwrap();
                }
            }
        }
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}
