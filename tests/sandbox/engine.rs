//! A container engine, as its own client tells of it: beside what the program under test says.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

/// An engine that listens somewhere.
pub struct Engine(pub String);

impl Engine {
    /// That of this test's mode.
    pub fn here() -> Self {
        Self(crate::modes::engine().expect("an engine"))
    }

    /// What Docker's own client prints for these words.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> String {
        self.says_of(words, Stdio::null())
    }

    #[track_caller]
    fn says_of(&self, words: &[&str], input: Stdio) -> String {
        let output = Command::new("docker")
            .args(["--host", &self.0])
            .args(words)
            .env_remove("DOCKER_HOST")
            .stdin(input)
            .output()
            .expect("tests need Debian's package docker.io");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {words:?}: {error}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// The ids of all containers that belong to the runs of a home.
    #[track_caller]
    pub fn containers(&self, home: &Path) -> Vec<String> {
        let name = fs::read_to_string(home.join("engines/name")).expect("the name of a home");
        let filter = format!("label=perestroika.home={}", name.trim());
        let ids = self.says(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        ids.lines().map(str::to_owned).collect()
    }

    /// What it knows of a container.
    #[track_caller]
    pub fn inspect(&self, id: &str) -> Value {
        let text = self.says(&["inspect", "--type", "container", id]);
        let [value] = serde_json::from_str::<[Value; 1]>(&text).expect("a document");
        value
    }

    /// An image with busybox in it; its id.
    #[track_caller]
    pub fn import(&self, name: &str) -> String {
        let mut tar = Command::new("tar")
            .args(["-C", "/", "-c", "bin/busybox"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let input = tar.stdout.take().expect("a pipe");
        let id = self.says_of(&["import", "-", name], input.into());
        assert!(tar.wait().expect("an end").success());
        // Podman tells of its progress too.
        id.split_whitespace().last().unwrap_or_default().to_owned()
    }
}

/// What is on an engine and belongs to somebody else: containers, of which some have marks like
/// ours, a volume and an image. Removed when dropped.
pub struct Foreign {
    engine: Engine,
    name: String,
    image: String,
    containers: Vec<String>,
}

impl Foreign {
    pub fn new(token: &str) -> Self {
        let (engine, name) = (Engine::here(), format!("foreign-{token}"));
        let image = engine.import(&name);
        engine.says(&["volume", "create", &name]);
        let mut foreign = Self { engine, name, image, containers: Vec::new() };
        let kind = "--label=perestroika=run";
        let home = format!("--label=perestroika.home={:032x}", 7);
        let run = format!("--label=perestroika.run={:032x}", 9);
        for labels in [&[][..], &[kind], &[kind, &home, &run]] {
            let words = [&["create"], labels, &[&foreign.name, "/bin/busybox", "true"]].concat();
            let id = foreign.engine.says(&words);
            foreign.containers.push(id);
        }
        foreign
    }

    #[track_caller]
    pub fn is_there(&self) {
        let there = self.engine.says(&["ps", "--all", "--quiet", "--no-trunc"]);
        for id in &self.containers {
            assert!(there.contains(id), "{id} is gone: {there}");
        }
        assert!(self.engine.says(&["volume", "ls", "--quiet"]).contains(&self.name));
        let images = self.engine.says(&["images", "--all", "--quiet", "--no-trunc"]);
        assert!(images.contains(&self.image), "{} is gone: {images}", self.image);
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let rm = self.containers.iter().map(|id| vec!["rm", id]);
        for words in rm.chain([vec!["volume", "rm", &self.name], vec!["rmi", &self.name]]) {
            let mut client = Command::new("docker");
            let client = client.args(["--host", &self.engine.0]).args(words);
            let _gone = client.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// A Docker Engine of a test's own, which may be killed and started again.
pub struct OwnEngine {
    /// It.
    pub engine: Engine,
    process: Option<Child>,
    /// Holds sockets, whose paths must be short.
    near: tempfile::TempDir,
    /// Holds images and containers, where overlays can lie.
    data: tempfile::TempDir,
}

impl OwnEngine {
    /// Starts one; only root can.
    pub fn start() -> Self {
        let near = tempfile::tempdir().expect("a folder");
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let engine = Engine(format!("unix://{}", near.path().join("socket").display()));
        let mut own = Self { engine, process: None, near, data };
        own.again();
        own
    }

    /// Starts it again after its end. Returns when it listens.
    pub fn again(&mut self) {
        let mut process = Command::new("dockerd")
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(["--host", &self.engine.0])
            .arg("--data-root")
            .arg(self.data.path())
            .arg("--exec-root")
            .arg(self.near.path().join("run"))
            .arg("--pidfile")
            .arg(self.near.path().join("pid"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("tests need Debian's package docker.io");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("API listen on")) {
            match lines.next() {
                Some(Ok(line)) => said.push(line),
                _ => panic!("no engine: {}", said.join("\n")),
            }
        }
        // Else it would stop once the pipe is full.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        self.process = Some(process);
    }

    /// Ends it at once, as a crash would; what it manages goes on without it.
    pub fn kill(&mut self) {
        let file = self.near.path().join("run/containerd/containerd.pid");
        let below = fs::read_to_string(&file).expect("what it runs on");
        let below = Pid::from_raw(below.trim().parse().expect("a number")).expect("a process");
        let ended = pidfd_open(below, PidfdFlags::empty()).expect("a process");
        self.end(Signal::KILL);
        // That is tied to its life; a new one takes it for alive until somebody has reaped it.
        poll(&mut [PollFd::new(&ended, PollFlags::IN)], None).expect("its end");
        fs::remove_file(file).expect("what it ran on");
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            let _told = kill_process(pid.expect("a process"), signal);
            let _gone = process.wait();
        }
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}
