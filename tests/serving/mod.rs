//! A `serve` that runs, and what it answers.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A `serve` that runs.
pub struct Serving {
    pub child: Child,
    pub document: Value,
}

impl Serving {
    /// Starts a `serve … --json`, which says where it listens.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let document: Value = serde_json::from_str(&line).expect("a document when it has begun");
        assert_eq!(document["errors"], serde_json::json!([]));
        Self { child, document }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        self.document["url"].as_str().unwrap().trim_end_matches('/')
    }

    pub fn address(&self) -> &str {
        self.url().trim_start_matches("http://")
    }

    pub fn get(&self, path: &str) -> Heard {
        self.ask("GET", path, "")
    }

    pub fn ask(&self, method: &str, path: &str, fields: &str) -> Heard {
        let host = self.address();
        let fields = format!("Host: {host}\r\nConnection: close\r\n{fields}");
        Heard::from(host, &format!("{method} {path} HTTP/1.1\r\n{fields}\r\n"))
    }

    /// What an interrupt makes of it.
    pub fn end(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer as it came.
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn from(address: &str, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        // Whoever is refused half-way may not be read to the end.
        let _ = stream.write_all(request.as_bytes());
        Self::read(&mut stream)
    }

    pub fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}
