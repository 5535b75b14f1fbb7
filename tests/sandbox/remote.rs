//! An engine that does not share our files: everything travels, and what a guest sees and leaves
//! is what it is here.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use perestroika::base::HostPath;
use perestroika::sandbox::docker::{Certificates, Docker, Host};
use perestroika::sandbox::{
    Access, Collect, Executor, Keep, Keeping, Mount, Outcome, Request, Scratch, Stage, Verdict,
};
use rustix::process::{Pid, Signal};

use crate::modes;
use crate::tiny::{Tiny, run};

/// The engine's own folders, and in its mount namespace where they are found.
const PLACE: &str = "/mnt";

/// Puts keys for both sides of a TLS connection into the working folder.
const KEYS: &str = "
key() { openssl req -newkey rsa:2048 -nodes -keyout $1.pem -out $1.csr -subj /CN=$2
    printf \"subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=$3\" >$1.ext
    openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile $1.ext -out $4
}
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -subj /CN=authority
key server-key engine serverAuth server.pem
key key client clientAuth cert.pem";

/// An engine that sees nothing of where temporary files are; it ends with this.
struct Engine {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = Command::new("sh")
            .args(["-ec", KEYS])
            .current_dir(folder.path())
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = format!("tcp://127.0.0.1:{}", port.expect("a free port").port());
        let hidden = std::env::temp_dir();
        let script = format!(
            "mount --bind {} {PLACE}; mount -t tmpfs hidden {}; cd {PLACE}
            exec dockerd --data-root {PLACE}/data --exec-root {PLACE}/run --pidfile {PLACE}/pid \
            --bridge none --iptables=false --ip6tables=false --tlsverify --tlscacert ca.pem \
            --tlscert server.pem --tlskey server-key.pem -H {address} 2>&1",
            folder.path().display(),
            hidden.display(),
        );
        let mut process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux");
        let mut said = BufReader::new(process.stdout.take().expect("its output")).lines();
        let mut all = String::new();
        let ready = said.by_ref().map_while(Result::ok).any(|line| {
            all = format!("{all}{line}\n");
            line.contains("API listen on")
        });
        let engine = Self { process, folder, address };
        assert!(ready, "the engine does not start: {all}");
        // It must not wait for somebody who reads.
        thread::spawn(move || said.map_while(Result::ok).for_each(drop));
        engine
    }

    fn host(&self) -> Host {
        Host {
            name: "far away".to_owned(),
            address: self.address.clone(),
            certificates: Some(Certificates::in_folder(&HostPath::new(self.folder.path()))),
            slots: None,
            labels: Vec::new(),
        }
    }

    fn executor(&self, tiny: &Tiny) -> Docker {
        let program = HostPath::new(modes::program());
        let notice = Arc::new(|_: &str| {});
        Docker::new(program, tiny.make("home"), vec![self.host()], notice)
    }

    /// What Docker's own client says.
    fn ask(&self, words: &[&str]) -> Vec<String> {
        let output = Command::new("docker")
            .args(words)
            .env("DOCKER_HOST", &self.address)
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", self.folder.path())
            .output()
            .expect("Docker's client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The volumes that hold layers.
    fn layers(&self) -> Vec<String> {
        let format = "{{index .Labels \"perestroika.layer\"}}";
        let points = ["volume", "ls", "-q", "--filter", "label=perestroika.layer"];
        let points = self.ask(&points);
        let words = ["volume", "inspect", "--format", format];
        let words: Vec<_> = words.into_iter().chain(points.iter().map(String::as_str)).collect();
        if points.is_empty() { Vec::new() } else { self.ask(&words) }
    }

    /// Fails if there is anything but so many layers.
    #[track_caller]
    fn assert_only_layers(&self, count: usize) {
        assert_eq!(self.ask(&["ps", "--all", "--quiet"]), Vec::<String>::new());
        assert_eq!(self.layers().len(), count);
        assert_eq!(self.ask(&["volume", "ls", "--quiet"]).len(), 2 * count);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let _gone = process.map(|process| rustix::process::kill_process(process, Signal::TERM));
        let _over = self.process.wait();
    }
}

/// Runs a request on an executor, with what it printed.
#[track_caller]
fn run_on(executor: &Docker, request: &Request) -> (Outcome, String) {
    let mut log = Vec::new();
    let outcome = executor.run(request, &mut log, &AtomicBool::new(false));
    let log = String::from_utf8_lossy(&log).into_owned();
    (outcome.unwrap_or_else(|error| panic!("{error}: {:?}\n{log}", error)), log)
}

/// What can be seen of a tree but for times: they are those of the run.
fn seen(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let status = fs::symlink_metadata(&path).expect("a file");
        let name = path.strip_prefix(root).expect("below it");
        let opaque = rustix::fs::lgetxattr(&path, "user.overlay.opaque", &mut [0; 9]).is_ok();
        let content = if status.is_file() { fs::read(&path).expect("a file") } else { Vec::new() };
        let owner = (status.uid(), status.gid());
        let mode = status.mode();
        lines.push(format!("{name:?} {mode:o} {owner:?} {} {opaque} {content:?}", status.rdev()));
        if status.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    lines.sort();
    lines
}

#[test]
fn an_engine_without_our_files_gets_them_and_gives_them_back() {
    if !rustix::process::geteuid().is_root() {
        return modes::root_only("an_engine_without_our_files_gets_them_and_gives_them_back");
    }
    let engine = Engine::start();
    let tiny = Tiny::new();
    let executor = engine.executor(&tiny);

    builds_with_what_it_was_sent(&engine, &executor, &tiny);
    gives_a_layer_back(&engine, &executor, &tiny);
    keeps_what_failed(&engine, &executor, &tiny);
    holds_limits(&engine, &executor, &tiny);
    fills_what_was_lost_once(&engine, &executor, &tiny);
}

fn builds_with_what_it_was_sent(engine: &Engine, executor: &Docker, tiny: &Tiny) {
    let inputs = tiny.make("inputs/deep");
    fs::write(inputs.join("file").as_path(), "folder\n").expect("a file");
    fs::write(tiny.path("lone"), "lone\n").expect("a file");
    fs::set_permissions(tiny.path("lone"), Permissions::from_mode(0o600)).expect("a mode");
    tiny.hand_over(&tiny.path("inputs"));
    tiny.hand_over(&tiny.path("lone"));
    let mount = |source: &str, target: &str| Mount {
        source: HostPath::new(tiny.path(source)),
        target: target.parse().expect("a guest path"),
        access: Access::ReadOnly,
    };
    let writable = |source, target| Mount { access: Access::Writable, ..mount(source, target) };
    let out = tiny.make("out");
    let script = "cat /run/in/deep/file /run/lone /usr/share/old/file; id -u
        ls -ld /run/in /run/lone; echo x >/run/in/new; echo made >/build/made";
    let request = Request {
        mounts: vec![mount("inputs", "/run/in"), mount("lone", "/run/lone")],
        collect: Some(Collect {
            from: "/build".parse().expect("a guest path"),
            patterns: vec!["*".to_owned()],
            to: out.clone(),
        }),
        ..tiny.build(script)
    };
    let (outcome, log) = run_on(executor, &request);
    assert_eq!(outcome.verdict, Verdict::Built, "{log}");
    assert_eq!(outcome.collected, ["made"]);
    assert_eq!(outcome.receipt.0["outer files"], "sent");
    fs::remove_file(out.join("made").as_path()).expect("what was collected");
    assert_eq!(log, run(&request).1, "it is not what it is here");
    engine.assert_only_layers(1);
    let layers = engine.layers();
    let script = "echo more >>/run/lone; mkdir /run/in/new; rm /run/in/deep/file";
    let mounts = vec![writable("inputs", "/run/in"), writable("lone", "/run/lone")];
    let (outcome, log) = run_on(executor, &Request { mounts, ..tiny.build(script) });
    assert_eq!(outcome.verdict, Verdict::Built, "{log}");
    assert_eq!(fs::read(tiny.path("lone")).expect("a file"), b"lone\nmore\n");
    assert!(tiny.path("inputs/new").is_dir() && !tiny.path("inputs/deep/file").exists());
    assert_eq!(engine.layers(), layers, "a layer was sent again");
}

fn gives_a_layer_back(engine: &Engine, executor: &Docker, tiny: &Tiny) {
    let script = "rm -r /usr/share/old && mkdir /usr/share/old && echo new >/usr/share/old/new
        rm /etc/group; mkdir -m 700 /opt && echo x >/opt/x; chmod 4755 /opt/x; echo gone >/tmp/x";
    let here = tiny.configure(script);
    assert_eq!(run(&here).0.expect("a run").verdict, Verdict::Built);
    let upper = tiny.make("there/upper");
    let stage = Stage::Configure { upper: upper.clone(), work: tiny.make("there/work") };
    let there = Request { stage, ..here.clone() };
    let (outcome, log) = run_on(executor, &there);
    assert_eq!(outcome.verdict, Verdict::Built, "{log}");
    let Stage::Configure { upper: made_here, .. } = &here.stage else { unreachable!() };
    assert_eq!(seen(upper.as_path()), seen(made_here.as_path()));
    let mut build = tiny.build("ls /usr/share/old; cat /opt/x; ls -l /etc");
    build.layers.push(upper);
    assert_eq!(run_on(executor, &build).1, run(&build).1);
    engine.assert_only_layers(2);
}

fn keeps_what_failed(engine: &Engine, executor: &Docker, tiny: &Tiny) {
    let kept = tiny.make("kept");
    let keep = |bytes| Some(Keep { to: kept.clone(), bytes, files: 100 });
    let script = "mkdir -p /build/a; echo left >/build/a/b; chmod 500 /build/a; exit 3";
    let request = Request { keep: keep(1 << 20), ..tiny.build(script) };
    let (outcome, log) = run_on(executor, &request);
    assert_eq!(outcome.verdict, Verdict::Failed(3), "{log}");
    assert!(matches!(outcome.kept, Some(Keeping::Kept { .. })), "{:?}", outcome.kept);

    // Somebody goes in, with a root that can be written, and finds it again the next time.
    let over =
        || Stage::Experiment { upper: tiny.make("over/upper"), work: tiny.make("over/work") };
    let inside = |script| Request {
        scratch: Scratch::Disk(kept.clone()),
        stage: over(),
        ..tiny.build(script)
    };
    let script =
        "cat /build/a/b; chmod 700 /build/a; echo more >>/build/a/b; echo y >/etc/y; rm /etc/group";
    let (outcome, log) = run_on(executor, &inside(script));
    assert_eq!((outcome.verdict, log.as_str()), (Verdict::Built, "left\n"));
    let script = "cat /build/a/b /etc/y; ls /etc/group";
    assert_eq!(run_on(executor, &inside(script)).1, run(&inside(script)).1);
    assert!(run_on(executor, &inside(script)).1.starts_with("left\nmore\ny\n"));
    engine.assert_only_layers(2);
}

fn holds_limits(engine: &Engine, executor: &Docker, tiny: &Tiny) {
    let upper = tiny.make("large/upper");
    let stage = Stage::Configure { upper: upper.clone(), work: tiny.make("large/work") };
    let script = "yes | head -c 40000000 >/large";
    let mut request = Request { stage, ..tiny.configure(script) };
    request.limits.scratch = 4 << 20;
    let (outcome, log) = run_on(executor, &request);
    assert_eq!(outcome.verdict, Verdict::OutOfSpace, "{log}");
    assert_eq!(fs::read_dir(upper.as_path()).expect("a folder").count(), 0);
    let outcome = executor.run(&tiny.build("true"), &mut Vec::new(), &AtomicBool::new(true));
    assert_eq!(outcome.expect("a run").verdict, Verdict::Cancelled);
    engine.assert_only_layers(2);
}

fn fills_what_was_lost_once(engine: &Engine, executor: &Docker, tiny: &Tiny) {
    let before = engine.layers();
    let removed: Vec<_> = ["volume", "rm"].into_iter().chain(before.iter().map(|x| &**x)).collect();
    engine.ask(&removed);
    let other = engine.executor(tiny);
    thread::scope(|scope| {
        for executor in [executor, &other, executor, &other] {
            scope.spawn(|| {
                let (outcome, log) = run_on(executor, &tiny.build("cat /usr/share/old/file"));
                assert_eq!((outcome.verdict, log.as_str()), (Verdict::Built, "old\n"));
            });
        }
    });
    let after = engine.layers();
    assert_eq!(after.iter().filter(|name| before.contains(name)).count(), 1, "{after:?}");
    executor.sweep(false).expect("a sweep");
    assert_eq!(engine.ask(&["volume", "ls", "--quiet"]).len(), 2);
    run_on(executor, &tiny.build("true"));
    executor.sweep(true).expect("a sweep");
    engine.assert_only_layers(0);
}
