use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::*;

/// A pool whose clock is turned by hand, and whose sentences are kept.
struct Trial {
    pool: Pool<AtomicUsize>,
    time: Arc<Mutex<Instant>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Trial {
    fn new(engines: &[(&str, Option<usize>)]) -> Self {
        let time = Arc::new(Mutex::new(Instant::now()));
        let said = Arc::new(Mutex::new(Vec::new()));
        let member = |(name, slots): &(&str, Option<usize>)| Member {
            name: (*name).to_owned(),
            engine: AtomicUsize::new(0),
            slots: *slots,
        };
        let (clock, ear) = (Arc::clone(&time), Arc::clone(&said));
        let pool = Pool::new(
            engines.iter().map(member).collect(),
            Arc::new(move |sentence| ear.lock().expect("sentences").push(sentence.to_owned())),
            move || *clock.lock().expect("a time"),
        );
        Self { pool, time, said }
    }

    fn pass(&self, seconds: u64) {
        *self.time.lock().expect("a time") += Duration::from_secs(seconds);
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.said.lock().expect("sentences"))
    }

    fn take(&self) -> Result<Lease<'_, AtomicUsize>, Refusal> {
        self.pool.take(&AtomicBool::new(false))
    }

    /// The engine that the next run is given, which then ends like this.
    fn run(&self, end: fn(Lease<'_, AtomicUsize>)) -> String {
        let lease = self.take().expect("an engine");
        let name = lease.member().name.clone();
        end(lease);
        name
    }

    /// In how many seconds an engine is used again.
    fn rest(&self) -> u64 {
        match self.take() {
            Err(Refusal::Resting { passes_in, .. }) => passes_in.as_secs(),
            Err(Refusal::Cancelled) => panic!("nobody cancelled"),
            Ok(_) => 0,
        }
    }
}

fn fault(lease: Lease<'_, AtomicUsize>) {
    lease.failed("connection refused");
}

fn success(lease: Lease<'_, AtomicUsize>) {
    lease.succeeded();
}

#[test]
fn the_engine_that_is_used_least_for_its_slots_is_next() {
    let trial = Trial::new(&[("small", Some(1)), ("large", Some(3))]);
    let leases: Vec<_> = (0..4).map(|_| trial.take().expect("a slot")).collect();
    let names: Vec<_> = leases.iter().map(|lease| lease.member().name.as_str()).collect();
    assert_eq!(names, ["small", "large", "large", "large"]);
    let cancelled = trial.pool.take(&AtomicBool::new(true));
    assert_eq!(cancelled.err(), Some(Refusal::Cancelled));
    drop(leases);
    let trial = Trial::new(&[("one", None), ("two", None)]);
    let leases: Vec<_> = (0..4).map(|_| trial.take().expect("a slot")).collect();
    let names: Vec<_> = leases.iter().map(|lease| lease.member().name.as_str()).collect();
    assert_eq!(names, ["one", "two", "one", "two"]);
}

#[test]
fn what_failed_is_tried_on_another_engine() {
    let trial = Trial::new(&[("bad", None), ("good", None)]);
    assert_eq!(trial.run(fault), "bad");
    assert_eq!(trial.run(success), "good");
    assert_eq!(trial.run(fault), "good");
    assert_eq!(trial.run(success), "bad", "both failed once");
    assert_eq!(trial.run(success), "bad", "and it is well again");
}

#[test]
fn three_faults_in_a_row_are_a_rest_that_is_said_once() {
    let trial = Trial::new(&[("bad", Some(4)), ("good", Some(1))]);
    let held = trial.take().expect("a slot");
    assert_eq!(held.member().name, "bad");
    drop(trial.take().expect("a slot"));
    for _ in 0..2 {
        assert_eq!(trial.run(success), "good");
        let [first, second] = [trial.take().expect("a slot"), trial.take().expect("a slot")];
        assert_eq!((first.member().name.as_str(), second.member().name.as_str()), ("good", "bad"));
        second.failed("connection refused");
    }
    assert_eq!(trial.said(), Vec::<String>::new());
    held.failed("connection refused");
    assert_eq!(
        trial.said(),
        ["the container engine `bad` failed 3 times in a row and is left alone for 60 s: \
          connection refused"]
    );
    for _ in 0..5 {
        assert_eq!(trial.run(success), "good");
    }
    trial.pass(60);
    assert_eq!(trial.run(success), "bad");
    assert_eq!(trial.said(), ["the container engine `bad` is back"]);
}

#[test]
fn rests_grow_until_a_success() {
    let trial = Trial::new(&[("only", Some(2))]);
    let three_faults = || (0..3).for_each(|_| drop(trial.run(fault)));
    three_faults();
    for expected in [60, 120, 240, 480, 900, 900] {
        assert_eq!(trial.rest(), expected);
        trial.pass(expected - 1);
        assert_eq!(trial.rest(), 1);
        trial.pass(1);
        // One fault after a rest is enough for the next.
        assert_eq!(trial.run(fault), "only");
    }
    trial.pass(900);
    assert_eq!(trial.run(success), "only");
    assert_eq!(trial.run(fault), "only");
    assert_eq!(trial.run(fault), "only");
    assert_eq!(trial.run(success), "only");
    three_faults();
    assert_eq!(trial.rest(), 60);
    let expected = Refusal::Resting {
        engine: "only".into(),
        passes_in: REST,
        because: "connection refused".into(),
    };
    assert_eq!(trial.take().err(), Some(expected));
}

#[test]
fn runs_that_fail_together_are_one_fault() {
    let trial = Trial::new(&[("only", None)]);
    let leases: Vec<_> = (0..9).map(|_| trial.take().expect("a slot")).collect();
    trial.pass(5);
    leases.into_iter().for_each(fault);
    assert_eq!(trial.said().len(), 0);
    for _ in 0..2 {
        assert_eq!(trial.run(fault), "only");
    }
    assert_eq!(trial.rest(), 60);
    assert_eq!(trial.said().len(), 1);
}

#[test]
fn a_run_that_tells_nothing_is_neither_success_nor_fault() {
    let trial = Trial::new(&[("only", Some(1))]);
    for _ in 0..2 {
        trial.run(fault);
        trial.run(|lease| drop(lease));
    }
    assert_eq!(trial.rest(), 0);
    trial.run(fault);
    assert_eq!(trial.rest(), 60);
}

#[test]
fn many_threads_share_the_slots_and_all_get_their_turn() {
    let trial = Trial::new(&[("a", Some(1)), ("b", Some(2)), ("c", Some(3))]);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (trial, done) = (&trial, &done);
            scope.spawn(move || {
                for round in 0..50 {
                    let lease = trial.take().expect("an engine");
                    let Member { engine, slots, .. } = lease.member();
                    let running = engine.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(Some(running) <= *slots, "{running} of {slots:?}");
                    std::thread::yield_now();
                    engine.fetch_sub(1, Ordering::SeqCst);
                    match (thread + round) % 3 {
                        0 => drop(lease),
                        _ => lease.succeeded(),
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 800);
}

#[test]
fn a_waiting_run_hears_that_it_is_cancelled() {
    let trial = Trial::new(&[("only", Some(1))]);
    let held = trial.take().expect("a slot");
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| trial.pool.take(&cancel).err());
        cancel.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().expect("an answer"), Some(Refusal::Cancelled));
    });
    held.succeeded();
    assert_eq!(trial.rest(), 0);
}
