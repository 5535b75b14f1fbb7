//! Bringing a repository to folders, with real rsync to modules and over ssh, and to a server
//! that speaks S3.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bucket;
mod made;
mod program;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bucket::Store;
use made::{Made, read};
use program::{PROGRAM, Run};

/// 2026-01-01, 2026-03-01 and 2026-11-01.
const DATES: [i64; 3] = [1_767_225_600, 1_772_323_200, 1_793_491_200];
const NAMES: [&str; 3] =
    ["repository-20260101T000000Z", "repository-20260301T000000Z", "repository-20261101T000000Z"];

/// Whatever a push goes to that a folder shows.
struct Mirror {
    made: Made,
    /// As the program is told.
    target: String,
    /// Where it lies.
    path: PathBuf,
    /// What has to be set to get there.
    environment: Vec<(String, String)>,
    _server: Option<Server>,
}

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server and waits until it takes connections.
fn serve(command: &mut Command, port: u16) -> Server {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "{command:?} ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    Server(child)
}

impl Mirror {
    fn folder() -> Self {
        let made = Made::new();
        let path = made.folder.path().join("mirror");
        let target = path.to_str().unwrap().to_owned();
        Self { made, target, path, environment: Vec::new(), _server: None }
    }

    /// A module of an rsync daemon.
    fn module() -> Self {
        let made = Made::new();
        let top = made.folder.path().to_owned();
        let port = free_port();
        fs::create_dir(top.join("module")).unwrap();
        let config = format!(
            "port = {port}\naddress = 127.0.0.1\nuse chroot = no\nmunge symlinks = no\n\
             uid = {}\ngid = {}\n[mirrors]\npath = {}\nread only = no\n",
            fs::metadata(&top).unwrap().uid(),
            fs::metadata(&top).unwrap().gid(),
            top.join("module").display()
        );
        fs::write(top.join("rsyncd.conf"), config).unwrap();
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--config"]).arg(top.join("rsyncd.conf"));
        let server = serve(&mut command, port);
        let target = format!("rsync://127.0.0.1:{port}/mirrors/a/b");
        let path = top.join("module/a/b");
        Self { made, target, path, environment: Vec::new(), _server: Some(server) }
    }

    /// A folder that a real sshd of our own leads to.
    fn ssh() -> Self {
        let made = Made::new();
        let top = made.folder.path().to_owned();
        let port = free_port();
        for name in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(top.join(name))
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(top.join("user.pub"), top.join("authorized")).unwrap();
        let config = format!(
            "HostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\n",
            top.display()
        );
        fs::write(top.join("sshd_config"), config).unwrap();
        // The folder that sshd shuts itself into if root runs it; its service makes it.
        let _ = fs::create_dir("/run/sshd");
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-o", "ListenAddress=127.0.0.1", "-p", &port.to_string(), "-f"]);
        let server = serve(command.arg(top.join("sshd_config")), port);
        let ssh = format!(
            "ssh -F none -p {port} -i {0}/user -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            top.display()
        );
        let path = top.join("far/a mirror");
        let target = format!("127.0.0.1:{}", path.display());
        let environment = vec![("RSYNC_RSH".to_owned(), ssh)];
        Self { made, target, path, environment, _server: Some(server) }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["repo", "push", &self.target, "--repo"]).arg(self.made.path()).args(more);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn push(&self, more: &[&str]) -> Run {
        Run::of(&mut self.command(more))
    }

    fn publish(&self, index: usize) -> u64 {
        let own = format!("own{}", index + 1);
        self.made.publish(DATES[index], &[("a", "1"), (&own, "1")])
    }
}

#[test]
fn what_is_no_mirror_stays_as_it_is() {
    let (made, other) = (Made::new(), tempfile::tempdir().unwrap());
    made.publish(DATES[0], &[("a", "1")]);
    let push = || {
        let mut command = Command::new(PROGRAM);
        command.args(["repo", "push"]).arg(other.path()).arg("--repo").arg(made.path());
        Run::of(&mut command)
    };
    let letters = other.path().join("letters");
    fs::write(&letters, "").unwrap();
    let run = push().ends_with(2);
    assert!(run.err.contains("is no mirror of a repository: it has `letters`"), "{}", run.err);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    fs::remove_file(letters).unwrap();
    fs::create_dir(other.path().join("dists")).unwrap();
    assert!(push().ends_with(2).err.contains("it has `dists`"));
    fs::remove_dir(other.path().join("dists")).unwrap();
    push().ends_with(0);
    // The same number, made elsewhere.
    let elsewhere = Made::new();
    elsewhere.publish(DATES[1], &[("b", "1")]);
    let mut command = Command::new(PROGRAM);
    command.args(["repo", "push"]).arg(other.path()).arg("--repo").arg(elsewhere.path());
    let run = Run::of(&mut command).ends_with(2);
    assert!(run.err.contains("is the mirror of another repository"), "{}", run.err);
    read(other.path());
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn sent(run: &Run) -> Vec<String> {
    serde_json::from_value(run.json()["sent"].clone()).unwrap()
}

/// What holds wherever links are.
fn keeps_a_mirror(mirror: &Mirror) {
    mirror.publish(0);
    let foreseen = mirror.push(&["-n", "--json"]).ends_with(0);
    assert!(!mirror.path.join("dists").exists());
    assert_eq!(sent(&foreseen).len(), 19);
    let first = mirror.push(&["--json"]).ends_with(0);
    assert_eq!(sent(&first), sent(&foreseen), "it was foreseen otherwise");
    assert_eq!((read(&mirror.path), first.json()["generation"].as_u64()), (1, Some(1)));
    assert!(mirror.path.join("keys/archive.asc").is_file());
    assert!(!mirror.path.join(".perestroika").exists(), "what is private is on the mirror");
    let packages = mirror.path.join("dists/stable/main/binary-amd64/Packages");
    assert_eq!(fs::metadata(&packages).unwrap().nlink(), 2, "an index is there twice");

    mirror.publish(1);
    let second = mirror.push(&["--json"]).ends_with(0);
    assert_eq!(read(&mirror.path), 2);
    assert!(sent(&second).iter().all(|path| !path.contains("/a_1")), "{}", second.out);
    let none = mirror.push(&["--json"]).ends_with(0);
    assert_eq!((sent(&none).len(), none.json()["bytes"].as_u64()), (0, Some(0)));

    // Damage that size and time do not show.
    let damaged = mirror.path.join("pool/main/a/a/a_1_all.deb");
    let (text, time) =
        (fs::read_to_string(&damaged).unwrap(), fs::metadata(&damaged).unwrap().modified());
    fs::write(&damaged, text.replace('a', "b")).unwrap();
    fs::File::options().write(true).open(&damaged).unwrap().set_modified(time.unwrap()).unwrap();
    let mended = mirror.push(&["--json"]).ends_with(0);
    assert_eq!(mended.json()["mended"][0], "pool/main/a/a/a_1_all.deb");
    assert_eq!(read(&mirror.path), 2);
}

fn keeps_snapshots(mirror: &Mirror) {
    let snapshot = |index: usize| mirror.path.join("snapshots").join(NAMES[index]);
    let all = ["--snapshots", "--keep-days", "100000", "--json"];
    for index in [0, 1] {
        mirror.publish(index);
        let run = mirror.push(&all).ends_with(0);
        assert_eq!(run.json()["snapshot"], NAMES[index]);
        assert_eq!(read(&mirror.path.join("latest")), index as u64 + 1);
        let latest = fs::read_link(mirror.path.join("latest")).unwrap();
        assert_eq!(latest, Path::new("snapshots").join(NAMES[index]));
    }
    assert_eq!(read(&snapshot(0)), 1, "an older snapshot is another now");
    let package = "pool/main/a/a/a_1_all.deb";
    assert_eq!(inode(&snapshot(0).join(package)), inode(&snapshot(1).join(package)));
    assert_ne!(
        inode(&snapshot(0).join("generations/1/dists/stable/InRelease")),
        inode(&snapshot(1).join("generations/2/dists/stable/InRelease"))
    );

    symlink(format!("snapshots/{}/dists", NAMES[0]), mirror.path.join("spring")).unwrap();
    mirror.publish(2);
    let days = (jiff::Timestamp::now().as_second() - DATES[2]) / 86_400 + 1;
    let days = days.to_string();
    let few = ["--snapshots", "--keep-days", &days, "--json"];
    let foreseen = mirror.push(&[&few[..], &["-n"]].concat()).ends_with(0);
    assert_eq!(foreseen.json()["removed"], serde_json::json!([]), "latest leads to it still");
    let run = mirror.push(&few).ends_with(0);
    assert_eq!(run.json()["removed"], serde_json::json!([NAMES[1]]));
    assert!(snapshot(0).exists() && !snapshot(1).exists() && snapshot(2).exists());
    assert_eq!((read(&mirror.path.join("latest")), read(&snapshot(0))), (3, 1));
    fs::remove_file(mirror.path.join("spring")).unwrap();
    let run = mirror.push(&few).ends_with(0);
    assert_eq!(run.json()["removed"], serde_json::json!([NAMES[0]]));
    assert_eq!((sent(&run).len(), read(&mirror.path.join("latest"))), (0, 3));
}

#[test]
fn a_folder_is_a_mirror() {
    keeps_a_mirror(&Mirror::folder());
}

#[test]
fn a_folder_keeps_snapshots() {
    keeps_snapshots(&Mirror::folder());
}

#[test]
fn a_module_of_rsync_is_a_mirror() {
    keeps_a_mirror(&Mirror::module());
}

#[test]
fn a_module_of_rsync_keeps_snapshots() {
    keeps_snapshots(&Mirror::module());
}

#[test]
fn a_folder_over_ssh_is_a_mirror() {
    // Each login takes a while: only what is different from a module.
    let mirror = Mirror::ssh();
    for index in [0, 1] {
        mirror.publish(index);
        let run = mirror.push(&["--json"]).ends_with(0);
        assert_eq!(read(&mirror.path), index as u64 + 1);
        assert_eq!(sent(&run).iter().any(|path| path.contains("/a_1")), index == 0);
    }
}

#[test]
fn a_killed_push_leaves_a_folder_as_it_was() {
    for more in [&[][..], &["--snapshots"]] {
        let mirror = Mirror::folder();
        mirror.publish(0);
        mirror.push(more).ends_with(0);
        mirror.publish(1);
        let seen = if more.is_empty() { mirror.path.clone() } else { mirror.path.join("latest") };
        let mut kills = 0;
        for nth in 1.. {
            let push = mirror.command(more);
            let killed = Command::new("strace")
                .args(["-f", "-qq", "-o"])
                .arg(mirror.made.folder.path().join("strace.log"))
                .arg(format!("--inject=rename:signal=KILL:when={nth}"))
                .arg(push.get_program())
                .args(push.get_args())
                .env("RAYON_NUM_THREADS", "1")
                .output()
                .unwrap();
            if killed.status.success() {
                break;
            }
            kills += 1;
            assert_eq!(read(&seen), 1, "{nth}");
        }
        assert!(kills >= 4, "killed {kills} times only");
        assert_eq!(read(&seen), 2);
    }
}

#[test]
fn a_push_that_is_killed_around_any_run_of_rsync_leaves_a_module_as_it_was() {
    let mirror = Mirror::module();
    mirror.publish(0);
    mirror.push(&[]).ends_with(0);
    mirror.publish(1);
    let folder = mirror.made.folder.path().join("bin");
    fs::create_dir(&folder).unwrap();
    let rsync = folder.join("rsync");
    // It kills whoever runs it the nth time: before it begins, having done a part, or all.
    fs::write(
        &rsync,
        "#!/bin/sh\necho >> \"$COUNT\"\n\
         if [ \"$(wc -l < \"$COUNT\")\" = \"$NTH\" ]; then\n\
         case \"$WHEN\" in\n\
         half) head -c 400 | /usr/bin/rsync \"$@\" > /dev/null 2>&1;;\n\
         after) /usr/bin/rsync \"$@\" > /dev/null;;\nesac\nkill -9 $PPID\nexit 1\nfi\n\
         exec /usr/bin/rsync \"$@\"\n",
    )
    .unwrap();
    fs::set_permissions(&rsync, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut kills, count) = (0, folder.join("count"));
    'all: for nth in 1.. {
        for when in ["before", "half", "after"] {
            fs::write(&count, "").unwrap();
            let mut command = mirror.command(&[]);
            let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
            command.env("PATH", path).env("COUNT", &count);
            let run = Run::of(command.env("NTH", nth.to_string()).env("WHEN", when));
            if run.code == Some(0) {
                break 'all;
            }
            kills += 1;
            // The third run moves the link, the fourth one looks at it.
            let moved = nth > 3 || (nth == 3 && when != "before");
            assert_eq!(read(&mirror.path), if moved { 2 } else { 1 }, "{nth} {when}");
        }
    }
    assert_eq!(kills, 12);
    assert_eq!(read(&mirror.path), 2);
}

#[test]
fn what_cannot_get_there_is_named_and_the_link_stays() {
    // A folder where a file has to be.
    for mirror in [Mirror::folder(), Mirror::module()] {
        mirror.publish(0);
        mirror.push(&[]).ends_with(0);
        mirror.publish(1);
        let way = mirror.path.join("pool/main/o/own2/own2_1_all.deb");
        fs::create_dir_all(way.join("x")).unwrap();
        let run = mirror.push(&[]).ends_with(3);
        assert!(run.err.contains("own2_1_all.deb"), "{}", run.err);
        assert_eq!(read(&mirror.path), 1);
        fs::remove_dir_all(way).unwrap();
        mirror.push(&[]).ends_with(0);
        assert_eq!(read(&mirror.path), 2);
    }
}

#[test]
fn a_repository_that_is_damaged_goes_nowhere() {
    let mirror = Mirror::folder();
    mirror.push(&[]).ends_with(2);
    mirror.publish(0);
    mirror.push(&[]).ends_with(0);
    mirror.publish(1);
    let package = mirror.made.path().join("pool/main/o/own2/own2_1_all.deb");
    let text = fs::read_to_string(&package).unwrap();
    fs::write(&package, text.replace('o', "0")).unwrap();
    let run = mirror.push(&[]).ends_with(3);
    assert!(run.err.contains("own2_1_all.deb` is not what it has to be"), "{}", run.err);
    fs::write(&package, "").unwrap();
    let run = mirror.push(&[]).ends_with(3);
    assert!(run.err.contains("own2_1_all.deb` is damaged: it has 0 bytes"), "{}", run.err);
    assert_eq!(read(&mirror.path), 1);
}

#[test]
fn what_cannot_be_reached_is_said() {
    let mut mirror = Mirror::folder();
    mirror.publish(0);
    mirror.target = format!("rsync://127.0.0.1:{}/mirrors/a", free_port());
    let run = mirror.push(&[]).ends_with(3);
    assert!(run.err.contains("rsync failed on the files"), "{}", run.err);
    assert!(mirror.push(&["--offline"]).ends_with(2).err.contains("forbids to reach it"));
    let run = Run::of(mirror.command(&[]).env("PATH", "/nowhere")).ends_with(3);
    assert!(run.err.contains("install rsync"), "{}", run.err);
    mirror.target = mirror.made.path().join("inside").to_str().unwrap().to_owned();
    assert!(mirror.push(&[]).ends_with(2).err.contains("in the repository itself"));
    for (target, said) in [("mirror", "a folder is written with a `/`"), ("s3://b", "no keys for")]
    {
        mirror.target = target.to_owned();
        let mut command = mirror.command(&[]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SHARED_CREDENTIALS_FILE");
        let run = Run::of(command.env("HOME", "/nowhere")).ends_with(2);
        assert!(run.err.contains(said), "{}", run.err);
    }
}

#[test]
fn an_object_store_is_a_mirror_whose_in_release_comes_last() {
    let Some(store) = Store::start() else { return };
    let made = Made::new();
    let push = |more: &[&str]| Run::of(&mut store.push(&made, more));
    made.publish(DATES[0], &[("a", "1"), ("g++", "1~rc+1")]);
    push(&["--snapshots"]).ends_with(2);
    let first = push(&["--json"]).ends_with(0);
    assert_eq!((store.read(), sent(&first).len()), (1, 17));
    made.publish(DATES[1], &[("a", "1"), ("b", "1")]);
    store.begin();
    let second = push(&["--json"]).ends_with(0);
    assert_eq!(store.read(), 2);
    assert!(sent(&second).iter().all(|path| !path.contains("a_1")), "{}", second.out);
    let put = store.put();
    let at = |what: &str| put.iter().position(|key| key.contains(what)).unwrap();
    let last = |what: &str| put.iter().rposition(|key| key.contains(what)).unwrap();
    assert!(last("/pool/") < at("/by-hash/") && last("/by-hash/") < at("/main/binary-amd64/Pack"));
    assert!(last("/main/binary-amd64/Packages") < at("stable/Release"), "{put:?}");
    assert!(put.last().unwrap().ends_with("/dists/stable/InRelease"), "{put:?}");
    assert_eq!(sent(&push(&["--json"]).ends_with(0)).len(), 0);
    assert_eq!(sent(&push(&["--json", "-n"]).ends_with(0)).len(), 0);

    // What others put there is not believed, though its size is right.
    store.replace("pool/main/a/a/a_1.dsc");
    let mended = push(&["--json"]).ends_with(0);
    assert_eq!(sent(&mended), ["mirror/pool/main/a/a/a_1.dsc"]);
    assert_eq!(store.read(), 2);
}

#[test]
fn a_push_that_an_object_store_ends_leaves_the_old_state() {
    let Some(store) = Store::start() else { return };
    let made = Made::new();
    made.publish(DATES[0], &[("a", "1")]);
    Run::of(&mut store.push(&made, &[])).ends_with(0);
    made.publish(DATES[1], &[("a", "1"), ("b", "1")]);
    // A server that is busy once is asked again.
    let mut steps = 0;
    for nth in 1.. {
        store.begin();
        store.kill_at(nth);
        let mut child = store.push(&made, &[]).stderr(Stdio::null()).spawn().unwrap();
        let status = store.wait(&mut child);
        if status.success() {
            break;
        }
        steps += 1;
        assert_eq!(store.read(), 1, "{nth}");
    }
    assert!(steps >= 4, "ended {steps} times only");
    assert_eq!(store.read(), 2);

    made.publish(DATES[2], &[("c", "1")]);
    store.refuse(503, 1);
    Run::of(&mut store.push(&made, &[])).ends_with(0);
    assert_eq!(store.read(), 3);
    made.publish(DATES[2] + 1, &[("d", "1")]);
    store.refuse(403, usize::MAX);
    let run = Run::of(&mut store.push(&made, &[])).ends_with(3);
    assert!(run.err.contains("answered 403: AccessDenied: not you"), "{}", run.err);
    assert!(run.err.contains("did not get to `s3://packages/mirror`"), "{}", run.err);
    assert!(!run.err.contains("test-secret"));
    assert_eq!(store.read(), 3);
}
