//! Builds that fail: what is said of them, what is kept of them, and what is tried again.
//!
//! The store is shared by all tests and stays, so what must be built anew holds a word that was
//! never there before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::io::{BufRead as _, BufReader, Write};
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perestroika::base::HostPath;
use perestroika::fetch::{Client, Mirrors, Network, Patience, Places, Search};
use perestroika::graph::{Graph, lower};
use perestroika::plan::OnFailure;
use perestroika::realise::driver::{self, Goal, Options, Tracing};
use perestroika::realise::event::{Event, Failure, Fault, Finished};
use perestroika::realise::machine::{Allowance, processors};
use perestroika::realise::retry::Retries;
use perestroika::realise::upstream::Upstream;
use perestroika::realise::world::World;
use perestroika::sandbox::native::Native;
use perestroika::sandbox::{self, Executor, Outcome, Request, Stage};
use perestroika::spec::loader::Folder;
use perestroika::spec::lock::{self, Lock};
use perestroika::store::{self, CapsuleLimits, Store};
use program::{PROGRAM, Release, shared_store, unique};

/// The release of one package without it.
fn empty() -> Release {
    let release = Release::copy_of("specs/single");
    std::fs::remove_file(release.path("hello.rhai")).unwrap();
    release
}

/// A package with this script, never built before.
fn package(name: &str, script: &str) -> String {
    format!(
        "package(#{{\n    name: \"{name}\",\n    version: \"1.0\",\n    summary: \"Test\",\n    \
         license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n    \
         source: dir(\"src/hello\"),\n    build: script(##\"\n{script}\n\"##),\n}})\n",
        unique()
    )
}

#[test]
fn failures_are_told_by_their_cause_and_those_of_one_cause_together() {
    let release = empty();
    let missing = "mkdir -p sub\necho '#include <zlib.h>' > sub/NAME.c\ncc -c sub/NAME.c";
    for name in ["alpha", "beta"] {
        release.write(&format!("{name}.rhai"), &package(name, &missing.replace("NAME", name)));
    }
    release.write("gamma.rhai", &package("gamma", "echo 'int f(' > x.c; cc -c x.c"));
    let run = release.run("build", &[]).ends_with(1);
    for text in [
        "failed    2 packages · compiler: sub/alpha.c:1:10: fatal error: zlib.h: No such file",
        "          alpha 1.0, beta 1.0\n",
        "zlib1g-dev` provides `zlib.h`",
        "failed    gamma 1.0 · compiler: x.c:1:",
        "perestroika log ",
        " gamma\n",
        "spec    ",
    ] {
        assert!(run.err.contains(text), "no `{text}` in\n{}", run.err);
    }
    assert!(run.out.contains("3 failed"), "{}", run.out);

    let document = release.run("build", &["--json"]).ends_with(1).json();
    let failures = document["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[0]["packages"], serde_json::json!(["alpha", "beta"]));
    assert_eq!(failures[0]["kind"], "compiler");
    let of = |name: &str| {
        let mut all = document["packages"].as_array().unwrap().iter();
        all.find(|package| package["name"] == name).unwrap()["failure"].clone()
    };
    assert_eq!(of("alpha")["fingerprint"], of("beta")["fingerprint"]);
    assert_ne!(of("alpha")["fingerprint"], of("gamma")["fingerprint"]);
    assert_eq!(document["errors"].as_array().unwrap().len(), 3);

    // The attempts remember it, each with a log of its own.
    let count = of("alpha")["attempt"].as_u64().unwrap();
    let log = |number: u64| {
        let number = number.to_string();
        release.run("log", &["alpha", "--attempt", &number, "--json"]).ends_with(0).json()
    };
    let (first, second) = (log(count - 1), log(count));
    assert_eq!(first["fingerprint"], of("alpha")["fingerprint"]);
    assert_eq!((&first["kind"], &second["kind"]), (&"compiler".into(), &"compiler".into()));
    assert_ne!(first["started"], second["started"]);
    let run = release.run("log", &["alpha", "--attempt", "1000000"]).ends_with(2);
    assert!(run.err.contains(&format!("`alpha` has attempts 1 to {count}")), "{}", run.err);
    let list = release.run("log", &[]).ends_with(0).out;
    assert!(list.contains(&format!("alpha #{count}  compiler: ")), "{list}");
}

#[test]
fn a_log_is_read_to_its_end_whatever_the_build_leaves_running() {
    let release = empty();
    let script = "echo first\n(sleep 3000; echo never) &\nsetsid sleep 3001 &\nseq 1 200000\n\
                  echo the last line\nexit 3";
    release.write("stays.rhai", &package("stays", script));
    release.run("build", &[]).ends_with(1);
    let log = release.run("log", &["stays"]).ends_with(0).out;
    let (_, after) = log.split_once("\nfirst\n").unwrap();
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(after.starts_with(&(expected + "the last line\n")), "{} bytes", after.len());
    assert!(!log.contains("never"));
}

#[test]
fn a_log_is_followed_by_another_process_until_its_attempt_ends() {
    let release = empty();
    // The build goes on when it has been seen: a file of the host would have to be let in, so it
    // waits for the time that the follower surely takes to be there.
    let script = "echo it begins\nfor i in $(seq 1 40); do echo line $i; sleep 0.1; done\nexit 5";
    release.write("slow.rhai", &package("slow", script));
    let mut build = Command::new(PROGRAM)
        .arg("build")
        .arg(release.path(""))
        .args(["--progress", "json", "--store"])
        .arg(shared_store())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("it begins")), "it was not built");
    let mut follow = Command::new(PROGRAM)
        .arg("log")
        .arg(release.path(""))
        .args(["slow", "--follow", "--store"])
        .arg(shared_store())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(shown.any(|line| line == "it begins"));
    // It was shown while the build goes on.
    assert!(build.try_wait().unwrap().is_none());
    let rest: Vec<String> = shown.collect();
    let all: Vec<String> = (1..=40).map(|number| format!("line {number}")).collect();
    assert_eq!(rest[..40], all);
    lines.for_each(drop);
    assert_eq!(build.wait().unwrap().code(), Some(1));
    let output = follow.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("(failed: make: "), "{told}");
    // What has ended is shown as it is.
    let run = release.run("log", &["slow", "-f"]).ends_with(0);
    assert!(run.out.contains("line 40\n") && run.err.contains("(failed: "), "{}", run.err);
}

/// An executor that fails a number of builds in the machine's name; the rest is real.
struct Flaky {
    real: Native,
    failing: AtomicU32,
    ran: AtomicU32,
}

impl Flaky {
    fn new(failing: u32) -> Self {
        let real = Native::new(HostPath::new(PROGRAM));
        Self { real, failing: AtomicU32::new(failing), ran: AtomicU32::new(0) }
    }
}

impl Executor for Flaky {
    fn run(
        &self,
        request: &Request,
        log: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> sandbox::Result<Outcome> {
        if matches!(request.stage, Stage::Build) {
            self.ran.fetch_add(1, Ordering::Relaxed);
            let take = |left: u32| left.checked_sub(1);
            if self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                writeln!(log, "half a line of a build").unwrap();
                return Err(sandbox::Error::Lost(": the machine's fault".to_owned()));
            }
        }
        self.real.run(request, log, cancel)
    }
}

/// A release as the library builds it, offline.
struct Built {
    release: Release,
    graph: Graph,
    lock: Lock,
    store: Store,
}

impl Built {
    fn new(release: Release) -> Self {
        let lock = lock::parse(&std::fs::read_to_string(release.path("release.lock")).unwrap());
        let lock = lock.unwrap();
        let folder = HostPath::new(release.path(""));
        let loader = Arc::new(Folder::new(folder));
        let spec = perestroika::spec::load_with(loader, Some(&lock), None).unwrap();
        let graph = lower(&spec, &lock).unwrap();
        let store = Store::open(&HostPath::new(shared_store())).unwrap();
        Self { release, graph, lock, store }
    }

    /// Builds it; gives what came of its only package, and the causes that were tried again.
    fn build(
        &self,
        executor: &Flaky,
        retries: Retries,
        cancel_at_retry: bool,
    ) -> (Finished, Vec<String>) {
        let folder = HostPath::new(self.release.path(""));
        let client = Client::new(Network::Offline, Patience::default());
        let mirrors = Mirrors::new(Search {
            archive: "bookworm".to_owned(),
            suites: vec!["bookworm".to_owned()],
            keyring: Vec::new(),
            given: Vec::new(),
            release: Vec::new(),
            places: Places::of_this_host(),
        });
        let upstream = Upstream::new(folder.clone(), self.lock.clone(), client, vec![mirrors]);
        let cancel = AtomicBool::new(false);
        let world = World {
            store: &self.store,
            executor,
            upstream: &upstream,
            folder: &folder,
            retries,
            capsules: CapsuleLimits::default(),
            cancel: &cancel,
        };
        let jobs = NonZeroUsize::MIN;
        let allowance = Allowance::of_machine(processors(), jobs);
        let options = Options {
            jobs,
            cores: jobs,
            on_failure: OnFailure::GoOn,
            allowance,
            tracing: Tracing::Off,
        };
        let wanted: Vec<_> = self.graph.packages().map(|(node, _)| node.id).collect();
        let retried = Mutex::new(Vec::new());
        let tell = |event: Event| {
            if let Event::Retry { cause, failed, most, .. } = event {
                retried.lock().unwrap().push(format!("{failed}/{most} {cause}"));
                cancel.store(cancel_at_retry, Ordering::Relaxed);
            }
        };
        let goal = Goal {
            world: &world,
            graph: &self.graph,
            spec: None,
            wanted: &wanted,
            snapshots: Arc::default(),
        };
        let report = driver::build(&[goal], &options, &tell).unwrap().remove(0);
        let result = report.packages.into_iter().next().unwrap().result;
        (result, retried.into_inner().unwrap())
    }

    /// The verdicts of its attempts, the newest first.
    fn verdicts(&self, name: &str, most: u32) -> Vec<store::Verdict> {
        let attempts = self.store.attempts(Some(&name.parse().unwrap()), most).unwrap();
        attempts.iter().map(|attempt| attempt.verdict).collect()
    }
}

fn failure(result: &Finished) -> &Failure {
    match result {
        Finished::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

const AT_ONCE: Retries = Retries { times: 2, first: Duration::ZERO };

#[test]
fn faults_of_the_machine_are_tried_again_and_never_kept_as_failures() {
    let release = empty();
    release.write("flaky.rhai", &package("flaky", "true"));
    // The build root, from the mirror.
    release.write("first.rhai", &package("first", "true"));
    release.run("build", &["first"]).ends_with(0);
    std::fs::remove_file(release.path("first.rhai")).unwrap();
    let built = Built::new(release);

    // More faults than tries.
    let executor = Flaky::new(3);
    let (result, retried) = built.build(&executor, AT_ONCE, false);
    let failed = failure(&result);
    assert_eq!(failed.fault, Fault::Machine, "{failed:?}");
    assert!(failed.line().contains("the machine's fault"), "{}", failed.line());
    assert_eq!(retried.len(), 2, "{retried:?}");
    assert!(
        retried[0].starts_with("1/3 machine: ") && retried[1].starts_with("2/3 "),
        "{retried:?}"
    );
    assert_eq!(executor.ran.load(Ordering::Relaxed), 3);
    assert_eq!(built.verdicts("flaky", 3), [store::Verdict::Fault; 3]);

    // Told to stop while it waits, it stops.
    let executor = Flaky::new(1);
    let hours = Retries { first: Duration::from_secs(36_000), ..AT_ONCE };
    let (result, _) = built.build(&executor, hours, true);
    assert_eq!(failure(&result).fault, Fault::Cancelled);
    assert_eq!(executor.ran.load(Ordering::Relaxed), 1);

    // A fault that passes.
    let executor = Flaky::new(2);
    let (result, retried) = built.build(&executor, AT_ONCE, false);
    assert!(matches!(result, Finished::Built { .. }), "{result:?}");
    assert_eq!(retried.len(), 2);
    let expected = [store::Verdict::Built, store::Verdict::Fault, store::Verdict::Fault];
    assert_eq!(built.verdicts("flaky", 3), expected);
}

#[test]
fn faults_of_the_package_are_not_tried_again() {
    let release = empty();
    release.write("first.rhai", &package("first", "true"));
    release.run("build", &["first"]).ends_with(0);
    std::fs::remove_file(release.path("first.rhai")).unwrap();
    release.write("wrong.rhai", &package("wrong", "kill -9 $$"));
    let built = Built::new(release);
    let executor = Flaky::new(0);
    let (result, retried) = built.build(&executor, AT_ONCE, false);
    assert_eq!(failure(&result).fault, Fault::Package, "{result:?}");
    assert_eq!((retried.len(), executor.ran.load(Ordering::Relaxed)), (0, 1));
}
