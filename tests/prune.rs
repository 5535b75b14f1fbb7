//! What goes from a repository, and what stays.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod made;
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use made::{Made, read};
use perestroika::base::DerivationId;
use perestroika::publish::prune::{Pruning, Retention, foresee, prune};
use program::{PROGRAM, Run};

const DAY: i64 = 86_400;
/// When nobody has read the first generations for long.
const NOW: i64 = 1000 * DAY;

fn keep(count: usize, days: u32) -> Retention {
    Retention { keep: count, days, pinned: BTreeSet::new() }
}

/// Generations with `a` in all of them and one package of their own, made on these days.
fn made(days: &[i64]) -> Made {
    let made = Made::new();
    for (index, day) in days.iter().enumerate() {
        let own = format!("own{}", index + 1);
        made.publish(day * DAY, &[("a", "1"), (&own, "1")]);
    }
    made
}

fn stay(pruning: &Pruning) -> Vec<u64> {
    let staying = pruning.generations.iter().filter(|one| one.because.is_some());
    staying.map(|one| one.number).collect()
}

fn has(made: &Made, name: &str) -> bool {
    let prefix = &name[..1];
    made.path().join(format!("pool/main/{prefix}/{name}/{name}_1_all.deb")).exists()
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn only_what_no_kept_generation_names_goes() {
    let made = made(&[1, 2, 3]);
    let before = count(&made.path().join("by-hash/SHA256"));
    let foreseen = foresee(&made.repository, &keep(1, 1), NOW).unwrap();
    assert_eq!(stay(&foreseen), [3]);
    assert!(has(&made, "own1") && made.path().join("generations/1").exists());
    let pruning = prune(&made.repository, &keep(1, 1), NOW).unwrap();
    assert_eq!((stay(&pruning), &pruning.files), (vec![3], &foreseen.files));
    assert!(!has(&made, "own1") && !has(&made, "own2") && has(&made, "own3") && has(&made, "a"));
    assert_eq!(count(&made.path().join("by-hash/SHA256")), before - 8);
    assert!(!made.path().join("pool/main/o/own1").exists(), "an empty folder is left");
    assert_eq!(made.repository.generations().unwrap(), [3]);
    assert_eq!(read(&made.path()), 3);
    let again = prune(&made.repository, &keep(1, 1), NOW).unwrap();
    assert!(again.files.is_empty() && again.freed == 0);
}

#[test]
fn a_client_finds_what_it_has_read_of_within_its_grace() {
    // The second one was replaced two days ago: whoever read it then may still be at it.
    let made = made(&[1, 2, 998, 999]);
    let pruning = prune(&made.repository, &keep(1, 3), NOW).unwrap();
    assert_eq!(stay(&pruning), [2, 3, 4]);
    assert!(!has(&made, "own1") && has(&made, "own2") && has(&made, "own3"));
    let pruning = prune(&made.repository, &keep(1, 2), NOW).unwrap();
    assert_eq!(stay(&pruning), [3, 4]);
}

#[test]
fn what_a_link_leads_to_stays_with_all_it_names() {
    let made = made(&[1, 2, 3, 4, 5]);
    symlink("generations/1", made.path().join("stable-2026")).unwrap();
    fs::create_dir(made.path().join("snapshots")).unwrap();
    symlink("../generations/2/dists", made.path().join("snapshots/spring")).unwrap();
    symlink("snapshots/spring", made.path().join("chain")).unwrap();
    symlink(made.path().join("generations/3"), made.path().join("absolute")).unwrap();
    symlink("generations/77", made.path().join("nowhere")).unwrap();
    let pruning = prune(&made.repository, &keep(1, 1), NOW).unwrap();
    assert_eq!(stay(&pruning), [1, 2, 3, 5]);
    let because = |number: usize| pruning.generations[number - 1].because.clone();
    assert_eq!(because(1).unwrap(), "`stable-2026` leads to it");
    assert_eq!(because(2).unwrap(), "`chain` leads to it");
    assert!(has(&made, "own1") && has(&made, "own2") && has(&made, "own3") && !has(&made, "own4"));
}

#[test]
fn a_pinned_release_keeps_its_last_generation() {
    let made = Made::new();
    let [old, new] = [DerivationId::of(b"old"), DerivationId::of(b"new")];
    made.publish_release(DAY, &[("a", "1")], Some(old));
    made.publish_release(2 * DAY, &[("a", "1"), ("b", "1")], Some(old));
    made.publish_release(3 * DAY, &[("c", "1")], Some(new));
    made.publish_release(4 * DAY, &[("d", "1")], Some(new));
    let mut retention = keep(1, 1);
    retention.pinned.insert(old);
    let pruning = prune(&made.repository, &retention, NOW).unwrap();
    assert_eq!(stay(&pruning), [2, 4]);
    let because = pruning.generations[1].because.as_deref();
    assert_eq!(because, Some("it published demo 1.0, which is pinned"));
    assert!(has(&made, "b") && !has(&made, "c"));
}

#[test]
fn what_cannot_be_read_stops_it_before_anything_is_removed() {
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 5] = [
        ("an index", &|root| {
            let path = root.join("generations/3/dists/stable/main/binary-amd64/Packages");
            let text = fs::read_to_string(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, text.replacen("own3", "own4", 1)).unwrap();
        }),
        ("a missing index", &|root| {
            let path = root.join("generations/3/dists/stable/main/source/Sources");
            fs::remove_file(path).unwrap();
        }),
        ("Release", &|root| {
            fs::write(root.join("generations/3/dists/stable/Release"), "Suite: x\n").unwrap();
        }),
        ("GENERATION.json", &|root| {
            fs::write(root.join("generations/1/dists/GENERATION.json"), "{}").unwrap();
        }),
        ("dists", &|root| {
            fs::remove_file(root.join("dists")).unwrap();
            symlink("elsewhere", root.join("dists")).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let made = made(&[1, 2, 3]);
        damage(&made.path());
        let result = prune(&made.repository, &keep(1, 1), NOW);
        assert!(result.is_err(), "{what}");
        assert!(has(&made, "own1") && made.path().join("generations/1").exists(), "{what}");
    }
}

#[test]
fn a_killed_prune_is_gone_on_with() {
    let mut kills = 0;
    for (call, step) in [("rename", 1), ("unlink", 5), ("unlinkat", 8), ("rmdir", 2)] {
        for nth in (1..).step_by(step) {
            let made = made(&[1, 2, 3]);
            let log = made.folder.path().join("strace.log");
            let killed = Command::new("strace")
                .args(["-f", "-qq", "-o"])
                .arg(&log)
                .arg(format!("--inject={call}:signal=KILL:when={nth}"))
                .args([PROGRAM, "repo", "prune", "--keep", "1", "--keep-days", "1", "--repo"])
                .arg(made.path())
                .arg("--store")
                .arg(made.folder.path().join("store"))
                .output()
                .unwrap();
            assert_eq!(read(&made.path()), 3, "{call} {nth}");
            prune(&made.repository, &keep(1, 1), NOW).unwrap();
            assert_eq!(made.repository.generations().unwrap(), [3]);
            assert!(!has(&made, "own1") && has(&made, "own3"), "{call} {nth}");
            assert_eq!(count(made.repository.staging().as_path()), 0, "{call} {nth}");
            assert_eq!(read(&made.path()), 3, "{call} {nth}");
            if killed.status.success() {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 7, "killed {kills} times only");
}

#[test]
fn it_tells_what_goes_and_why_the_rest_stays() {
    let made = made(&[1, 2, 3]);
    let run = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["repo", "prune", "--keep", "1", "--store"]);
        command.arg(made.folder.path().join("store")).args(more);
        Run::of(command.env("PERESTROIKA_REPO", made.path()))
    };
    let foreseen = run(&["-n"]).ends_with(0);
    assert!(foreseen.out.contains("would remove  generation 1 of 1970-01-02"), "{}", foreseen.out);
    assert!(foreseen.out.contains("kept  generation 3 of 1970-01-04: clients read it"));
    assert!(foreseen.out.contains("would remove  pool/main/o/own1/own1_1_all.deb  300 B"));
    let done = run(&["--json"]).ends_with(0).json();
    assert_eq!(done["files"].as_array().unwrap().len(), 12);
    assert_eq!(done["generations"][2]["removed"], false);
    assert_eq!(done["kept"]["files"], 8);
    let none = Run::of(Command::new(PROGRAM).args(["repo", "prune", "--repo"]).arg("/nowhere"));
    assert!(none.ends_with(2).err.contains("there is no repository in `/nowhere`"));
}
