//! Running one test as everybody who may run a sandbox, on every executor.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
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

/// An engine that the tests run on besides, and who runs them there.
struct Engine {
    /// The mode, which is also the word in `PERESTROIKA_REQUIRE`.
    mode: &'static str,
    /// The variable that holds its address.
    variable: &'static str,
    /// Who asks it.
    caller: Caller,
}

/// Who runs a test once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Whoever runs all tests.
    Same,
    /// An ordinary user, who is in the group of the engine's socket.
    User,
}

/// The engines of every test.
const ENGINES: [Engine; 2] = [
    Engine { mode: "docker", variable: "PERESTROIKA_TEST_DOCKER", caller: Caller::Same },
    Engine { mode: "podman", variable: "PERESTROIKA_TEST_PODMAN", caller: Caller::Same },
];

/// Those of a few: a container takes a hundred times as long as a sandbox without one.
const MORE_ENGINES: [Engine; 2] = [
    Engine { mode: "docker as user", variable: "PERESTROIKA_TEST_DOCKER", caller: Caller::User },
    Engine {
        mode: "podman-rootless",
        variable: "PERESTROIKA_TEST_PODMAN_ROOTLESS",
        caller: Caller::User,
    },
];

impl Engine {
    /// Its address, or a loud skip, and a failure if `PERESTROIKA_REQUIRE` names it.
    fn address(&self, test: &str) -> Option<String> {
        let address = std::env::var(self.variable).ok().filter(|address| !address.is_empty());
        if address.is_none() {
            let word = self.mode.split(' ').next().unwrap_or(self.mode);
            skip(test, word, &format!("{} names no engine", self.variable));
        }
        address
    }
}

/// As whom a test was started once more, if it was.
pub fn now() -> Option<String> {
    std::env::var(MODE).ok()
}

/// The address of the engine that runs what this process runs; none where it is the native
/// executor.
pub fn engine() -> Option<String> {
    let mode = now()?;
    let engine = ENGINES.iter().chain(&MORE_ENGINES).find(|engine| engine.mode == mode)?;
    std::env::var(engine.variable).ok()
}

/// Runs a test as everybody who may run a sandbox without an engine: as it was started, as an
/// ordinary user, and as root of a user namespace that maps only that user. `name` is the test's
/// own: it is started again by that.
///
/// Only root can become the initial namespace's root; for anybody else that mode is a loud skip,
/// and a failure if `PERESTROIKA_REQUIRE` names `root`.
pub fn natively(name: &str, test: impl FnOnce()) {
    let name = plain(name);
    if std::env::var_os(MODE).is_some() {
        return test();
    }
    test();
    if !rustix::process::geteuid().is_root() {
        root_only(name);
    }
    again(name, "user", become_user(), &[]);
    again(name, "namespace root", become_user(), &["unshare", "-r"]);
}

/// The same, and then in the containers of each engine.
pub fn in_every_mode(name: &str, test: impl FnOnce()) {
    natively(name, test);
    on(&ENGINES, name);
}

/// The same, and on engines that an ordinary user asks.
pub fn in_every_mode_and_by_users(name: &str, test: impl FnOnce()) {
    in_every_mode(name, test);
    on(&MORE_ENGINES, name);
}

/// Runs a test on each engine alone.
pub fn on_engines(name: &str, test: impl FnOnce()) {
    match now() {
        Some(_) => test(),
        None => on(&ENGINES, name),
    }
}

/// Runs a test on Docker alone.
pub fn on_docker(name: &str, test: impl FnOnce()) {
    match now() {
        Some(_) => test(),
        None => on(&ENGINES[..1], name),
    }
}

fn on(engines: &[Engine], name: &str) {
    let name = plain(name);
    if std::env::var_os(MODE).is_some() {
        return;
    }
    for engine in engines {
        let Some(address) = engine.address(name) else { continue };
        match engine.caller {
            Caller::Same => again(name, engine.mode, &["env"], &[]),
            Caller::User => again(name, engine.mode, &user_of(&address), &[]),
        }
    }
}

/// The name of a test as the harness calls it: without that of this program.
fn plain(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, name)| name)
}

/// The words that start a program as an ordinary user who may use the socket of an engine.
fn user_of(address: &str) -> Vec<&'static str> {
    let mut words = become_user().to_vec();
    let socket = address.strip_prefix("unix://").and_then(|path| std::fs::metadata(path).ok());
    if let (Some(socket), Some(groups)) = (socket, words.last_mut())
        && groups.starts_with("--groups=")
    {
        *groups = format!("{groups},{}", socket.gid()).leak();
    }
    words
}

/// Runs a test as an ordinary user, started by these words.
pub fn in_other_mode(name: &str, mode: &str, words: &[&str], test: impl FnOnce()) {
    match std::env::var(MODE) {
        Ok(now) if now == mode => test(),
        Ok(_) => {}
        Err(_) => again(name, mode, become_user(), words),
    }
}

/// Starts a test of this program once more, as somebody and by these words.
fn again(name: &str, mode: &str, become_user: &[&str], words: &[&str]) {
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
pub fn root_only(name: &str) {
    skip(name, "root", "run by an ordinary user");
}

/// Says that a test was left out because this machine is not the one that it is about.
pub fn left_out(name: &str, why: &str) {
    skip(name, "cgroup-v1", why);
}

/// Says that a test was left out in a mode; fails if `PERESTROIKA_REQUIRE` names that.
#[expect(clippy::print_stderr, reason = "a skip must not look like a pass")]
fn skip(name: &str, mode: &str, why: &str) {
    let wanted = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
    assert!(!wanted.split(',').any(|part| part == mode), "{name} was not run ({mode}): {why}");
    eprintln!("SKIPPED {name} ({mode}): {why}");
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
    ($($tests:tt)*) => { $crate::modes::declared! { in_every_mode $($tests)* } };
}

/// Declares tests of the native executor alone.
macro_rules! natively {
    ($($tests:tt)*) => { $crate::modes::declared! { natively $($tests)* } };
}

/// Declares tests that run in every mode, and as ordinary users of engines too.
macro_rules! in_every_mode_and_by_users {
    ($($tests:tt)*) => { $crate::modes::declared! { in_every_mode_and_by_users $($tests)* } };
}

/// Declares tests of what is special about containers.
macro_rules! on_engines {
    ($($tests:tt)*) => { $crate::modes::declared! { on_engines $($tests)* } };
}

/// Declares tests of containers that one engine is enough for: they take long.
macro_rules! on_docker {
    ($($tests:tt)*) => { $crate::modes::declared! { on_docker $($tests)* } };
}

macro_rules! declared {
    ($how:ident $(fn $name:ident() $body:block)*) => {
        $(#[test]
        fn $name() {
            $crate::modes::$how(concat!(module_path!(), "::", stringify!($name)), || $body);
        })*
    };
}
pub(crate) use declared;
