//! How long builds that do nothing take, with everything that is kept of a build: measured, not
//! tested. `tests/bench/run` and `tests/bench/docker` hold it against its peers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use perestroika::base::{ActionId, DerivationId, Digest, HostPath, Json};
use perestroika::sandbox::{Collect, Verdict};
use perestroika::store::{NewAttempt, Store};

use crate::tiny::{Tiny, executor};

/// How many builds, and how many at once: as many as the peer gets.
fn amounts() -> [usize; 2] {
    let set = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    [("PERESTROIKA_NODES", 200), ("PERESTROIKA_JOBS", 2)]
        .map(|(name, usual)| set(name).unwrap_or(usual))
}

#[test]
#[ignore = "measures: tests/bench/run 3 sandbox"]
fn builds_that_do_nothing_are_measured() {
    let [nodes, jobs] = amounts();
    let tiny = Tiny::new();
    let store = Store::open(&tiny.make("store")).expect("a store");
    let next = AtomicUsize::new(0);
    let times = Mutex::new(Vec::new());
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < nodes
                {
                    let began = Instant::now();
                    build(&tiny, &store, number);
                    times.lock().expect("no panic").push(began.elapsed());
                }
            });
        }
    });
    let all = began.elapsed().as_secs_f64() * 1000.0;
    let mut times = times.into_inner().expect("no panic");
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1000.0;
    println!("{nodes} builds, {jobs} at once: {all:.1} ms, {:.2} ms each", all / nodes as f64);
    println!("one build: median {median:.2} ms");
}

/// A build of one file, and what is kept of it: log, output and record on disk before they have
/// names, and their names before the tables.
fn build(tiny: &Tiny, store: &Store, number: usize) {
    let name = format!("node-{number}");
    let action = ActionId::of(name.as_bytes());
    let new = NewAttempt {
        package: name.parse().expect("a name"),
        derivation: DerivationId::of(name.as_bytes()),
        action,
    };
    let (attempt, mut log) = store.start_attempt(&new, 1 << 20).expect("an attempt");
    let scratch = store.scratch().expect("scratch");
    let out = scratch.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    tiny.hand_over(out.as_path());
    let mut request = tiny.build(&format!("echo {name} > /build/out"));
    request.collect = Some(Collect {
        from: "/build".parse().expect("a guest path"),
        patterns: vec!["out".to_owned()],
        to: HostPath::new(out.as_path()),
    });
    let outcome = executor().run(&request, &mut log, &AtomicBool::new(false)).expect("an outcome");
    assert_eq!(outcome.verdict, Verdict::Built);
    let bytes = std::fs::read(out.join("out")).expect("its output");
    let batch = store.batch();
    let digest: Digest = batch.put(&bytes).expect("an object");
    let log = batch.put_log(&mut log).expect("a log");
    let outputs = Json::Array(vec![Json::text(digest)]);
    let record = Json::object([("outputs", outputs), ("log", Json::text(log.digest))]);
    attempt.succeed(batch, &record, &log).expect("a record");
}
