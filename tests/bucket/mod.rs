//! A server that speaks S3 (moto's), and a proxy before it that sees what is put there, refuses,
//! and ends clients.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of this")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::made::{Made, read_with};
use crate::program::PROGRAM;

/// The server with an empty bucket `packages`.
pub struct Store {
    server: Child,
    /// Where it answers itself.
    direct: u16,
    /// Where the proxy does.
    proxy: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    put: Vec<String>,
    /// At which PUT the client is ended, before the server gets it.
    kill_at: usize,
    client: Option<u32>,
    /// With which status PUTs are refused, and how many.
    refuse: (u16, usize),
}

impl Store {
    /// Nothing if tests/run has not installed it; an error if it has to be there.
    pub fn start() -> Option<Self> {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/validators/bin/moto_server");
        if !program.is_file() {
            let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
            let is_required = required.split([',', ' ']).any(|word| word == "validators");
            assert!(!is_required, "tests/run installs it");
            let said = b"SKIPPED: tests/run did not install the server that speaks S3\n";
            std::io::stderr().write_all(said).unwrap();
            return None;
        }
        let direct = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &direct.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", direct)).is_err() {
            assert_eq!(server.try_wait().unwrap(), None, "the server ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || pass(client, direct, &shared));
            }
        });
        let store = Self { server, direct, proxy, state };
        let (head, _) = store.ask("PUT", "", b"");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Some(store)
    }

    /// The program that pushes to `mirror` of the bucket.
    pub fn push(&self, made: &Made, more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["repo", "push", "s3://packages/mirror", "--repo"]).arg(made.path());
        command.args(["--endpoint", &format!("http://127.0.0.1:{}", self.proxy)]).args(more);
        command.env("AWS_ACCESS_KEY_ID", "test-id").env("AWS_SECRET_ACCESS_KEY", "test-secret");
        command
    }

    /// The generation that a client finds.
    pub fn read(&self) -> u64 {
        read_with(&|path| {
            let (head, body) = self.ask("GET", &format!("/mirror/{}", escaped(path)), b"");
            head.starts_with("HTTP/1.1 200").then_some(body)
        })
    }

    /// Puts other bytes there, as many as were.
    pub fn replace(&self, path: &str) {
        let (_, body) = self.ask("GET", &format!("/mirror/{path}"), b"");
        let other = vec![b'x'; body.len()];
        self.ask("PUT", &format!("/mirror/{path}"), &other);
    }

    /// Forgets what was put.
    pub fn begin(&self) {
        *self.state.lock().unwrap() = State::default();
    }

    /// The paths of what was put, in order.
    pub fn put(&self) -> Vec<String> {
        self.state.lock().unwrap().put.clone()
    }

    /// Ends the client that is waited for when it puts the nth object.
    pub fn kill_at(&self, nth: usize) {
        self.state.lock().unwrap().kill_at = nth;
    }

    pub fn wait(&self, child: &mut Child) -> ExitStatus {
        self.state.lock().unwrap().client = Some(child.id());
        child.wait().unwrap()
    }

    /// Answers the next PUTs with this status.
    pub fn refuse(&self, status: u16, times: usize) {
        let mut state = self.state.lock().unwrap();
        *state = State { refuse: (status, times), ..State::default() };
    }

    /// Asks the server itself; gives the head and the body of its answer.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (String, Vec<u8>) {
        let head = format!(
            "{method} /packages{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = exchange(self.direct, head.as_bytes(), body);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn escaped(path: &str) -> String {
    path.replace('+', "%2B")
}

fn exchange(port: u16, head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    server.write_all(head).unwrap();
    server.write_all(body).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    answer
}

/// One request and its answer.
fn pass(client: TcpStream, direct: u16, state: &Mutex<State>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let answer = match refusal(&head, state) {
        Some(answer) => answer,
        None => exchange(direct, format!("{head}Connection: close\r\n\r\n").as_bytes(), &body),
    };
    let mut client = client;
    let _ = client.write_all(&answer);
}

/// What is answered instead of the server's own answer, if anything is.
fn refusal(head: &str, state: &Mutex<State>) -> Option<Vec<u8>> {
    let path = head.strip_prefix("PUT ")?.split(' ').next()?.to_owned();
    loop {
        let mut state = state.lock().unwrap();
        if state.kill_at > 0 && state.put.len() + 1 >= state.kill_at {
            // Nobody has said yet who the client is.
            let Some(client) = state.client else {
                drop(state);
                std::thread::yield_now();
                continue;
            };
            let _ = Command::new("kill").args(["-KILL", &client.to_string()]).status();
            return Some(Vec::new());
        }
        let (status, times) = state.refuse;
        if times > 0 {
            state.refuse = (status, times - 1);
            let body = "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>";
            let length = body.len();
            return Some(
                format!(
                    "HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n\
                     {body}"
                )
                .into_bytes(),
            );
        }
        state.put.push(path);
        return None;
    }
}
