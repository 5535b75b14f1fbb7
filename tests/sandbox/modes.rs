//! Running one test as everybody who may run a sandbox.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for a test that was started once more as somebody else: who that is.
pub const MODE: &str = "PERESTROIKA_TEST_MODE";

/// Where the program under test lies for that test.
const PROGRAM: &str = "PERESTROIKA_TEST_PROGRAM";

/// An id that is nobody's; so are the groups.
const USER: [&str; 3] = ["--reuid=60101", "--regid=60101", "--groups=60101,60102"];

/// The program under test, wherever whoever runs this can reach it.
pub fn program() -> PathBuf {
    std::env::var_os(PROGRAM)
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_perestroika")), PathBuf::from)
}

/// Runs a test as it was started, as an ordinary user, and as root of a user namespace that
/// maps only that user. `name` is the test's own: it is started again by that.
///
/// Only root can become the initial namespace's root; for anybody else that mode is a loud skip,
/// and a failure if `PERESTROIKA_REQUIRE` names `root`.
pub fn in_every_mode(name: &str, test: impl FnOnce()) {
    // As the test harness calls it: without the name of this program.
    let name = name.split_once("::").map_or(name, |(_, name)| name);
    if std::env::var_os(MODE).is_some() {
        return test();
    }
    test();
    if !rustix::process::geteuid().is_root() {
        root_only(name);
    }
    again(name, "user", &[]);
    again(name, "namespace root", &["unshare", "-r"]);
}

/// Runs a test as an ordinary user, started by these words.
pub fn in_other_mode(name: &str, mode: &str, words: &[&str], test: impl FnOnce()) {
    match std::env::var(MODE) {
        Ok(now) if now == mode => test(),
        Ok(_) => {}
        Err(_) => again(name, mode, words),
    }
}

/// Starts a test of this program once more, as an ordinary user and by these words.
fn again(name: &str, mode: &str, words: &[&str]) {
    let become_user = become_user();
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
        .expect("a folder for everybody");
    let test = reachable(&std::env::current_exe().expect("this program"), folder.path());
    let output = Command::new(become_user[0])
        .args(&become_user[1..])
        .args(words)
        .arg(&test)
        .args(["--exact", name, "--nocapture"])
        .env(MODE, mode)
        .env(PROGRAM, reachable(&program(), folder.path()))
        .current_dir("/")
        .output()
        .expect("util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} as {mode}: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The words that start a program as an ordinary user.
pub fn become_user() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["setpriv", USER[0], USER[1], USER[2]],
        false => &["env"],
    }
}

/// Says that a test was left out because nobody but root can run it.
#[expect(clippy::print_stderr, reason = "a skip must not look like a pass")]
pub fn root_only(name: &str) {
    let wanted = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
    assert!(!wanted.split(',').any(|mode| mode == "root"), "{name} was not run as root");
    eprintln!("SKIPPED {name} as root: run by an ordinary user");
}

/// Says that a test was left out because this machine is not the one that it is about.
#[expect(clippy::print_stderr, reason = "a skip must not look like a pass")]
pub fn left_out(name: &str, why: &str) {
    let wanted = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
    assert!(!wanted.split(',').any(|part| part == "cgroup-v1"), "{name} was not run: {why}");
    eprintln!("SKIPPED {name}: {why}");
}

/// A second name for a program, where everybody may go.
pub fn reachable(program: &Path, folder: &Path) -> PathBuf {
    let place = folder.join(program.file_name().expect("a program's name"));
    if std::fs::hard_link(program, &place).is_err() {
        std::fs::copy(program, &place).expect("a copy of the program");
    }
    place
}

/// Declares tests that run in every mode.
macro_rules! in_every_mode {
    ($(fn $name:ident() $body:block)*) => {
        $(#[test]
        fn $name() {
            $crate::modes::in_every_mode(concat!(module_path!(), "::", stringify!($name)), || $body);
        })*
    };
}
