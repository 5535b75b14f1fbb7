//! The guest contract, version 1, byte for byte.

use std::path::Path;

use crate::tiny::{Tiny, run};
use perestroika::sandbox::{CONTRACT, Observe, Request, Scratch, Verdict};

const SCRIPT: &str = include_str!("contract.sh");

/// Compares what a guest sees with the fixture of this stage. To write the fixtures anew, which
/// means a new version of the contract, set `PERESTROIKA_BLESS`.
#[track_caller]
fn check(stage: &str, request: &Request) {
    let (outcome, log) = run(request);
    assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
    let name = format!("contract-{CONTRACT}-{stage}.txt");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    if std::env::var_os("PERESTROIKA_BLESS").is_some() && rustix::process::geteuid().is_root() {
        std::fs::write(&fixture, &log).expect("a fixture");
    }
    let wanted = FIXTURES.iter().find(|(name, _)| *name == stage).expect("a fixture").1;
    assert_eq!(similar(&log, wanted), "", "{stage}");
}

/// The fixtures, built in, as not everybody may read the folder they lie in.
const FIXTURES: [(&str, &str); 2] = [
    ("build", include_str!("../../fixtures/contract-1-build.txt")),
    ("configure", include_str!("../../fixtures/contract-1-configure.txt")),
];

/// The lines that differ.
fn similar(found: &str, wanted: &str) -> String {
    let only = |text: &str, other: &str, sign: char| -> String {
        let others: Vec<_> = other.lines().collect();
        let lines = text.lines().filter(|line| !others.contains(line));
        lines.map(|line| format!("{sign}{line}\n")).collect()
    };
    match found == wanted {
        true => String::new(),
        false => format!("\n{}{}", only(found, wanted, '+'), only(wanted, found, '-')),
    }
}

in_every_mode! {
    fn a_build_sees_what_the_contract_says() {
        check("build", &Tiny::new().build(SCRIPT));
    }

    fn configuring_sees_what_the_contract_says() {
        check("configure", &Tiny::new().configure(SCRIPT));
    }

    fn a_build_that_is_observed_sees_the_same() {
        let tiny = Tiny::new();
        check("build", &Request { observe: Observe::Opens, ..tiny.build(SCRIPT) });
    }

    fn a_build_on_disk_sees_the_same_but_for_the_file_system() {
        let tiny = Tiny::new();
        let mut request = tiny.build(SCRIPT);
        // Taken out here and not by the guest: a pipe would show among its descriptors.
        let same = |log: &str| -> String {
            let places = ["/build", "/tmp", "/var/tmp", "/run", "/dev/shm"];
            let of_scratch = |line: &&str| {
                line.split(' ').nth(1).is_some_and(|place| places.contains(&place))
            };
            log.lines().filter(|line| !of_scratch(line)).map(|line| format!("{line}\n")).collect()
        };
        let (_, memory) = run(&request);
        request.scratch = Scratch::Disk(tiny.make("scratch"));
        let (outcome, disk) = run(&request);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{disk}");
        assert_eq!(similar(&same(&disk), &same(&memory)), "");
    }
}
