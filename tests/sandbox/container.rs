//! What is special about containers: what the engine says of them, what becomes of them when
//! somebody dies, and that they share what they may.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::attempts::compile;
use crate::engine::{Engine, Foreign, OwnEngine};
use crate::tiny::{Tiny, anything_left, assert_nothing_left, docker, token};
use perestroika::base::{Digest, HostPath};
use perestroika::sandbox::docker::Docker;
use perestroika::sandbox::{
    Access, Collect, Executor, Limits, Mount, Outcome, Receipt, Request, Result, Scratch, Verdict,
};
use rustix::fs::Advice;

/// Does something at the first output, when the command surely runs.
struct AtFirst<F: FnOnce()>(Option<F>, Vec<u8>);

impl<F: FnOnce()> AtFirst<F> {
    fn new(then: F) -> Self {
        Self(Some(then), Vec::new())
    }
}

impl<F: FnOnce()> Write for AtFirst<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(then) = self.0.take() {
            then();
        }
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Containers of a test's own home, on the engine of this mode.
fn own(tiny: &Tiny) -> (Docker, HostPath) {
    let home = tiny.make("home");
    (docker(Engine::here().0, home.clone()), home)
}

fn run(docker: &Docker, request: &Request) -> (Result<Outcome>, String) {
    let mut log = Vec::new();
    let outcome = docker.run(request, &mut log, &AtomicBool::new(false));
    (outcome, String::from_utf8_lossy(&log).into_owned())
}

/// The request with a folder of the host in it that it may write, as `shared`.
fn sharing(folder: &HostPath, request: Request) -> Request {
    let mount = Mount {
        source: folder.clone(),
        target: "/build/shared".parse().expect("a guest path"),
        access: Access::Writable,
    };
    Request { mounts: vec![mount], ..request }
}

on_engines! {
    fn an_engine_that_runs_builds_is_found_healthy() {
        let tiny = Tiny::new();
        let (docker, home) = own(&tiny);
        let engines = docker.probe();
        let findings: Vec<_> = engines.iter().flat_map(|(_, findings)| findings).collect();
        let ill: Vec<_> = findings.iter().filter(|finding| !finding.ok).collect();
        assert!(ill.is_empty() && !findings.is_empty(), "{ill:#?}");
        assert_eq!(docker.check_limits().map_err(|error| error.to_string()), Ok(()));
        let engine = Engine::here();
        assert!(!home.join("engines/name").as_path().exists() || engine.containers(home.as_path()).is_empty());
    }

    fn the_receipt_says_what_the_engine_and_the_kernel_say() {
        let tiny = Tiny::new();
        let (docker, home) = own(&tiny);
        let engine = Engine::here();
        let to = tiny.make("to");
        tiny.hand_over(to.as_path());
        let collect = Collect {
            from: "/build".parse().expect("a guest path"),
            patterns: vec!["*".to_owned()],
            to,
        };
        let mut request = Request {
            collect: Some(collect),
            scratch: Scratch::Disk(tiny.make("scratch")),
            ..tiny.build("echo on; echo x >x")
        };
        request.limits = Limits { memory: 100 << 20, processes: 50, cores: vec![0], ..request.limits };
        let mut seen = None;
        let mut log = AtFirst::new(|| {
            let ids = engine.containers(home.as_path());
            assert_eq!(ids.len(), 1, "{ids:?}");
            seen = Some(engine.inspect(&ids[0]));
        });
        let outcome = docker.run(&request, &mut log, &AtomicBool::new(false)).expect("a run");
        assert_eq!(outcome.verdict, Verdict::Built);
        let seen = seen.expect("a container");
        let Receipt(facts) = outcome.receipt;
        let host = &seen["HostConfig"];
        for (name, value) in [
            ("outer memory limit", &host["Memory"]),
            ("outer process limit", &host["PidsLimit"]),
            ("outer processors", &host["CpusetCpus"]),
            ("outer network", &host["NetworkMode"]),
            ("outer ids", &seen["Config"]["User"]),
            ("outer image", &seen["Image"]),
        ] {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(facts.get(name), Some(&value), "{name} of {facts:#?}");
        }
        assert_eq!(facts["executor"], "docker");
        assert_eq!(facts["namespaces"], "user mount pid ipc uts net cgroup");
        // What is asked is at least what the guest may have, and little more.
        let memory = host["Memory"].as_u64().expect("a limit");
        assert!((100 << 20..=200 << 20).contains(&memory), "{memory}");
        let processes = host["PidsLimit"].as_u64().expect("a limit");
        assert!((50..=100).contains(&processes), "{processes}");
        assert_eq!(host["Privileged"], false);
        assert_eq!(host["ReadonlyRootfs"], true);
        assert!(!host["CapDrop"].as_array().expect("a list").is_empty(), "{}", host["CapDrop"]);
        let list = |value: &serde_json::Value| value.as_array().map_or(0, Vec::len);
        assert_eq!((list(&host["CapAdd"]), list(&host["Devices"])), (0, 0));
        assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
        // No file of the host but those of the request.
        let folder = tiny.path("").display().to_string();
        for mount in seen["Mounts"].as_array().expect("a list") {
            let source = mount["Source"].as_str().unwrap_or_default();
            assert!(mount["Type"] == "tmpfs" || source.starts_with(&folder), "{mount}");
        }
        assert_eq!(engine.containers(home.as_path()), [""; 0], "one is left");
    }

    fn a_run_that_is_cancelled_has_no_container_any_more_and_came_no_further() {
        let (tiny, token) = (Tiny::new(), token());
        let (docker, home) = own(&tiny);
        let shared = tiny.make("shared");
        tiny.hand_over(shared.as_path());
        // The guest itself tells whether it had a second.
        let script = format!("trap '' INT TERM HUP; echo on; sleep 1; touch shared/later; sleep {token}");
        let request = sharing(&shared, tiny.build(&script));
        let cancel = AtomicBool::new(false);
        let mut log = AtFirst::new(|| cancel.store(true, Ordering::Relaxed));
        let outcome = docker.run(&request, &mut log, &cancel).expect("a run");
        assert_eq!(outcome.verdict, Verdict::Cancelled);
        assert_eq!(Engine::here().containers(home.as_path()), [""; 0]);
        assert!(!shared.join("later").as_path().exists(), "it went on for a second");
        assert_nothing_left(&tiny, &token);
    }

    fn output_beyond_every_buffer_arrives_whole_whenever_the_command_ends() {
        let tiny = Tiny::new();
        let (docker, _home) = own(&tiny);
        let many = |count: u64| {
            let mut all = blake3();
            (1..=count).for_each(|number| all.update(format!("{number}\n").as_bytes()));
            all
        };
        // 68 MB, and often what just fits into a pipe or not.
        for (count, times) in [(8_700_000, 1), (20_000, 3)] {
            let wanted = many(count);
            for _ in 0..times {
                let mut request = tiny.build("");
                request.argv = ["/bin/busybox", "seq", &count.to_string()].map(str::to_owned).into();
                request.limits.output = u64::MAX;
                let mut log = blake3();
                let outcome = docker.run(&request, &mut log, &AtomicBool::new(false)).expect("a run");
                assert_eq!(outcome.verdict, Verdict::Built);
                assert_eq!((log.count, log.digest()), (wanted.count, wanted.digest()));
            }
        }
    }
}

/// Counts and hashes what is written.
#[derive(Clone)]
struct Hashed {
    count: u64,
    text: Vec<u8>,
    sum: Vec<Digest>,
}

fn blake3() -> Hashed {
    Hashed { count: 0, text: Vec::new(), sum: Vec::new() }
}

impl Hashed {
    fn update(&mut self, bytes: &[u8]) {
        self.count += bytes.len() as u64;
        self.text.extend_from_slice(bytes);
        while self.text.len() >= 1 << 20 {
            let rest = self.text.split_off(1 << 20);
            self.sum.push(Digest::of(&self.text));
            self.text = rest;
        }
    }

    fn digest(&self) -> Vec<Digest> {
        [&self.sum[..], &[Digest::of(&self.text)]].concat()
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Set for a copy of a test that is to be killed: the folder of its home, and its number.
const VICTIM: [&str; 2] = ["PERESTROIKA_TEST_HOME", "PERESTROIKA_TEST_VICTIM"];

on_engines! {
    fn what_a_killed_run_left_is_removed_and_nothing_of_anybody_else() {
        let tiny = Tiny::new();
        let [home, token] = VICTIM.map(|name| std::env::var(name).ok());
        if let (Some(home), Some(token)) = (home, token) {
            let mut request = tiny.build(&format!("echo on; sleep {token}"));
            request.limits.wall = Duration::from_secs(1000);
            let docker = docker(Engine::here().0, HostPath::new(home));
            let _never = docker.run(&request, &mut io::stdout(), &AtomicBool::new(false));
            unreachable!("the victim lives");
        }
        let (engine, token) = (Engine::here(), crate::tiny::token());
        let (docker, home) = own(&tiny);
        assert_eq!(run(&docker, &tiny.build(":")).0.expect("a run").verdict, Verdict::Built);

        let foreign = Foreign::new(&token);

        // One that is killed while its container stands still, which can therefore not end itself.
        let test = "container::what_a_killed_run_left_is_removed_and_nothing_of_anybody_else";
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture"])
            .env(VICTIM[0], home.as_path())
            .env(VICTIM[1], &token)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a victim");
        let mut output = victim.stdout.take().expect("a pipe");
        let mut seen = String::new();
        while !seen.contains("on\n") {
            let mut some = [0; 100];
            let count = output.read(&mut some).expect("output");
            assert_ne!(count, 0, "the victim ended by itself: {seen}");
            seen.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        let left = engine.containers(home.as_path());
        assert_eq!(left.len(), 1);
        engine.says(&["pause", &left[0]]);
        victim.kill().expect("a kill");
        victim.wait().expect("an end");
        assert_eq!(engine.containers(home.as_path()), left);
        assert!(anything_left(&token).is_some());

        // One that lives meanwhile, of the same home.
        let shared = tiny.make("shared");
        tiny.hand_over(shared.as_path());
        let script = "echo on; until [ -e shared/swept ]; do sleep 0.05; done; echo unharmed";
        let request = sharing(&shared, tiny.build(script));
        let (on, is_on) = mpsc::channel();
        let swept = thread::scope(|scope| {
            let living = scope.spawn(|| {
                let mut log = AtFirst::new(|| on.send(()).expect("somebody waits"));
                let outcome = docker.run(&request, &mut log, &AtomicBool::new(false));
                (outcome.expect("a run").verdict, String::from_utf8_lossy(&log.1).into_owned())
            });
            is_on.recv().expect("it runs");
            let next = crate::tiny::docker(Engine::here().0, home.clone());
            let swept = next.sweep(false).expect("a sweep");
            fs::write(shared.join("swept").as_path(), "").expect("a file");
            let (verdict, log) = living.join().expect("a run");
            assert_eq!((verdict, &*log), (Verdict::Built, "on\nunharmed\n"));
            swept
        });
        // The one that lives may have swept before us, as every run does.
        assert!(swept.containers <= 1, "{swept:?}");
        assert_eq!(engine.containers(home.as_path()), [""; 0]);
        assert_eq!(anything_left(&token), None);

        foreign.is_there();
    }
}

/// How many run at once.
const TWENTY: usize = 20;

on_docker! {
    fn twenty_builds_at_once_have_one_copy_of_their_layer() {
        const SIZE: usize = 64 << 20;
        let tiny = Tiny::new();
        let (docker, home) = own(&tiny);
        let big = tiny.path("root/usr/share/big");
        fs::write(&big, vec![7; SIZE]).expect("a file");
        compile("pages.c", &tiny.path("root/bin/pages"));
        tiny.hand_over(&tiny.path("root"));
        let pages = || {
            let output = Command::new(tiny.path("root/bin/pages")).arg(&big).output();
            String::from_utf8(output.expect("a program").stdout).expect("text")
        };
        let file = File::open(&big).expect("a file");
        file.sync_all().expect("a disk");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("an advice");
        assert_eq!(pages(), format!("0 of {}\n", SIZE / 4096), "not yet in memory");

        let shared = tiny.make("shared");
        tiny.hand_over(shared.as_path());
        // The first one reads; the others look whether it is in memory without reading a byte.
        let look = "stat -c %i /usr/share/big; pages /usr/share/big";
        let wait = |name: &str| format!("until [ -e shared/{name} ]; do sleep 0.1; done");
        let first = format!("echo on; {}; cat /usr/share/big | wc -c; touch shared/read; {look}", wait("go"));
        let other = format!("echo on; {}; {look}", wait("read"));
        let requests: Vec<_> = (0..TWENTY)
            .map(|number| sharing(&shared, tiny.build(if number == 0 { &first } else { &other })))
            .collect();
        let (on, are_on) = mpsc::channel();
        let logs: Vec<String> = thread::scope(|scope| {
            let runs: Vec<_> = requests
                .iter()
                .map(|request| {
                    let (docker, on) = (&docker, on.clone());
                    scope.spawn(move || {
                        let mut log = AtFirst::new(move || on.send(()).expect("somebody waits"));
                        let outcome = docker.run(request, &mut log, &AtomicBool::new(false));
                        (outcome, String::from_utf8_lossy(&log.1).into_owned())
                    })
                })
                .collect();
            drop(on);
            assert_eq!(are_on.iter().take(TWENTY).count(), TWENTY);
            let engine = Engine::here();
            let ids = engine.containers(home.as_path());
            assert_eq!(ids.len(), TWENTY);
            // None of them has a byte of its own on disk.
            let words = ["inspect", "--size", "--format", "{{.SizeRw}}"].map(str::to_owned);
            let words: Vec<_> = words.into_iter().chain(ids).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let sizes = engine.says(&words);
            assert_eq!(sizes.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["0"]), "{sizes}");
            fs::write(shared.join("go").as_path(), "").expect("a file");
            runs.into_iter()
                .map(|run| {
                    let (outcome, log) = run.join().expect("a run");
                    assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
                    log
                })
                .collect()
        });
        let inode = fs::metadata(&big).expect("a file").ino();
        for (number, log) in logs.iter().enumerate() {
            let read = if number == 0 { format!("{SIZE}\n") } else { String::new() };
            let pages = log.strip_prefix(&format!("on\n{read}{inode}\n"));
            let pages = pages.and_then(|rest| rest.strip_suffix(&format!(" of {}\n", SIZE / 4096)));
            let pages: Option<usize> = pages.and_then(|count| count.parse().ok());
            // The kernel may have taken a few back meanwhile; of a copy of its own there were none.
            assert!(pages.is_some_and(|pages| pages > SIZE / 4096 / 2), "{number}: {log}");
        }
    }

    fn an_engine_that_dies_under_a_build_is_the_machines_fault_and_leaves_nothing_for_ever() {
        let (tiny, token) = (Tiny::new(), token());
        let home = tiny.make("home");
        let mut own = OwnEngine::start();
        let address = own.engine.0.clone();
        let image = {
            let docker = docker(address.clone(), home.clone());
            let request = tiny.build(&format!("echo on; sleep {token}"));
            let mut log = AtFirst::new(|| own.kill());
            let outcome = docker.run(&request, &mut log, &AtomicBool::new(false));
            let error = outcome.expect_err("a fault");
            assert!(error.may_pass(), "{error}");

            // What comes next waits for the engine, and goes on when it is there again.
            let (outcome, log) = thread::scope(|scope| {
                let waiting = scope.spawn(|| run(&docker, &tiny.build("echo again")));
                own.again();
                waiting.join().expect("an answer")
            });
            let outcome = outcome.expect("a run");
            assert_eq!((outcome.verdict, &*log), (Verdict::Built, "again\n"));
            outcome.receipt.0["outer image"].clone()
        };
        let next = docker(address, home.clone());
        assert_eq!(next.sweep(false).expect("a sweep").containers, 1);
        assert_eq!(own.engine.containers(home.as_path()), [""; 0]);
        assert_eq!(anything_left(&token), None);

        // What is kept for the next run goes only when asked; what comes then is the same again.
        let foreign = own.engine.import("foreign");
        assert_eq!(next.sweep(true).expect("a sweep").images, 1);
        let images = own.engine.says(&["images", "--all", "--quiet", "--no-trunc"]);
        assert_eq!(images, foreign);
        let outcome = run(&next, &tiny.build(":")).0.expect("a run");
        assert_eq!(outcome.receipt.0["outer image"], image);
        assert_eq!(own.engine.files(&image), "perestroika\n");
    }
}
