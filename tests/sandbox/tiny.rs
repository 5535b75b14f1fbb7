//! A tiny root and an executor for the sandbox tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::modes;
use perestroika::base::HostPath;
use perestroika::sandbox::docker::{Docker, Host};
use perestroika::sandbox::native::{self, Native};
use perestroika::sandbox::{
    Executor, Guise, Limits, Observe, Outcome, Request, Result, Scratch, Stage,
};

/// Where Debian's `busybox-static` puts its program.
const BUSYBOX: &str = "/bin/busybox";

/// A number that no other process's command line holds, for `sleep`.
pub fn token() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("9{:07}{number:03}", std::process::id())
}

/// A process that has `token` in its command line.
pub fn anything_left(token: &str) -> Option<String> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).find(|line| line.contains(token))
}

/// Fails if a process still has `token` in its command line, or if a mount is left whose
/// description holds the folder of the test.
pub fn assert_nothing_left(tiny: &Tiny, token: &str) {
    assert_eq!(anything_left(token), None, "a process is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let folder = tiny.folder.path().to_str().expect("a plain path");
    assert!(!mounts.contains(folder), "a mount is left: {mounts}");
}

/// A root of one layer with a static busybox and nothing else, in a folder of its own.
pub struct Tiny {
    folder: tempfile::TempDir,
}

impl Tiny {
    /// Makes one, owned by whom the sandbox wants trees to belong to.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        for name in ["bin", "etc", "usr/share/old"] {
            fs::create_dir_all(root.join(name)).expect("a folder of the tiny root");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox"))
            .expect("tests need Debian's package busybox-static");
        fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755))
            .expect("an executable");
        symlink("busybox", root.join("bin/sh")).expect("a shell");
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("users");
        fs::write(root.join("etc/group"), "root:x:0:\n").expect("groups");
        fs::write(root.join("usr/share/old/file"), "old\n").expect("a file");
        let tiny = Self { folder };
        tiny.hand_over(&root);
        tiny
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder of its own beside the root.
    pub fn make(&self, name: &str) -> HostPath {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a folder");
        HostPath::new(path)
    }

    /// Gives a tree to the owner that the sandbox wants.
    pub fn hand_over(&self, tree: &Path) {
        let (uid, gid) = native::owner();
        let mut stack = vec![tree.to_owned()];
        while let Some(path) = stack.pop() {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).expect("a new owner");
            if path.symlink_metadata().expect("a file").is_dir() {
                let entries = fs::read_dir(&path).expect("a folder");
                stack.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
        }
    }

    /// A request that runs this shell script as a package build.
    pub fn build(&self, script: &str) -> Request {
        Request {
            layers: vec![HostPath::new(self.path("root"))],
            mounts: Vec::new(),
            argv: ["/bin/busybox", "sh", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::new(),
            cwd: "/build".parse().expect("a guest path"),
            stage: Stage::Build,
            limits: Limits {
                wall: Duration::from_secs(60),
                silence: Duration::from_secs(60),
                memory: 1 << 30,
                processes: 200,
                scratch: 64 << 20,
                inodes: 10_000,
                output: 1 << 20,
                cores: Vec::new(),
            },
            scratch: Scratch::Memory,
            collect: None,
            keep: None,
            guise: Guise::default(),
            observe: Observe::Nothing,
        }
    }

    /// The same while packages are configured; the new layer is `upper`.
    pub fn configure(&self, script: &str) -> Request {
        let stage =
            Stage::Configure { upper: self.make("layer/upper"), work: self.make("layer/work") };
        Request { stage, cwd: "/".parse().expect("a guest path"), ..self.build(script) }
    }
}

/// The executor under test.
pub fn executor() -> &'static dyn Executor {
    static EXECUTOR: OnceLock<Box<dyn Executor>> = OnceLock::new();
    &**EXECUTOR.get_or_init(|| match modes::engine() {
        None => Box::new(Native::new(HostPath::new(modes::program()))),
        Some(address) => Box::new(docker(address, HostPath::new(home()))),
    })
}

/// An executor on the containers of an engine, for whom they belong to.
pub fn docker(address: String, home: HostPath) -> Docker {
    let host =
        Host { name: address.clone(), address, certificates: None, slots: None, labels: vec![] };
    Docker::new(HostPath::new(modes::program()), home, vec![host], Arc::new(|_| ()))
}

/// Whom the containers of these tests belong to.
fn home() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("perestroika-tests-{user}"))
}

/// Runs a request, with what it printed.
pub fn run(request: &Request) -> (Result<Outcome>, String) {
    let mut log = Vec::new();
    let outcome = executor().run(request, &mut log, &AtomicBool::new(false));
    (outcome, String::from_utf8_lossy(&log).into_owned())
}
