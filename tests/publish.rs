//! Publishing, end to end: what a release builds comes into a suite that stock apt reads, whole or
//! not at all, and never as something that clients had otherwise.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use perestroika::archive::deb::release::ReleaseFile;
use perestroika::base::{HostPath, Sha256};
use perestroika::publish::{Generation, Repository};
use program::{Release, Run, unique};
use serde_json::Value;

/// A release of packages that copy a file, a key of its own, and the suites `stable` and
/// `proposed`.
struct Scene {
    release: Release,
    keys: tempfile::TempDir,
    stamp: String,
}

impl Scene {
    fn new() -> Self {
        let release = Release::copy_of("specs/single");
        fs::remove_file(release.path("hello.rhai")).unwrap();
        let keys = tempfile::tempdir().unwrap();
        let made = Run::of(
            Command::new(env!("CARGO_BIN_EXE_perestroika"))
                .args(["key", "new", "Demo <demo@example.org>", "-o"])
                .arg(keys.path()),
        );
        made.ends_with(0);
        fs::copy(keys.path().join("demo.asc"), release.path("keys/demo.asc")).unwrap();
        let suite = "format = \"deb\"\nkey = \"keys/demo.asc\"\nrehearse = \"none\"\n";
        let text = fs::read_to_string(release.path("release.toml")).unwrap();
        let text = format!(
            "{text}\n[publish.stable]\n{suite}valid_days = 7\norigin = \"Demo\"\n\n\
             [publish.proposed]\n{suite}"
        );
        release.write("release.toml", &text);
        Self { release, keys, stamp: unique() }
    }

    /// One package of this version, which installs a text.
    fn package(&self, name: &str, version: &str, text: &str) {
        let spec = format!(
            "package(#{{\n    name: \"{name}\", version: \"{version}\",\n    summary: \"Test\", \
             license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n    \
             source: dir(\"src/hello\"),\n    build: script(##\"mkdir -p \"$DESTDIR/usr/share/{name}\"\n\
             echo '{text}' > \"$DESTDIR/usr/share/{name}/text\"\"##),\n}})\n",
            self.stamp
        );
        self.release.write(&format!("{name}.rhai"), &spec);
    }

    fn build(&self) {
        self.release.run("build", &[]).ends_with(0);
    }

    fn publish(&self, words: &[&str]) -> Run {
        let key = self.keys.path().join("demo.secret.asc");
        let words = [words, &["--key-file", key.to_str().unwrap()]].concat();
        self.release.run("publish", &words)
    }

    /// A subcommand of `repo`, which signs.
    fn repo(&self, words: &[&str]) -> Run {
        let key = self.keys.path().join("demo.secret.asc");
        let mut command = Command::new(env!("CARGO_BIN_EXE_perestroika"));
        command.arg("repo").args(words).arg("--key-file").arg(key);
        Run::of(
            command.current_dir(self.release.path("")).arg("--store").arg(program::shared_store()),
        )
    }

    fn root(&self) -> PathBuf {
        self.release.path("repo")
    }

    fn live(&self) -> Generation {
        let repository = Repository::open(HostPath::new(self.root())).unwrap();
        repository.generation(repository.live().unwrap().unwrap()).unwrap()
    }

    /// Every file that the Release files of the live generation list is what they say, under its
    /// name and under its digest; every package that the indexes name is in the pool.
    fn is_whole(&self) {
        let root = self.root();
        let live = self.live();
        for suite in live.suites.keys() {
            let folder = root.join("dists").join(suite);
            let bytes = fs::read(folder.join("Release")).unwrap();
            assert_eq!(Sha256::of(&bytes), live.suites[suite].release);
            let release = ReleaseFile::parse(&String::from_utf8(bytes).unwrap()).unwrap();
            assert!(release.acquire_by_hash);
            for (path, (size, sha256)) in &release.files {
                let named = folder.join(path);
                let by_hash = named.parent().unwrap().join(format!("by-hash/SHA256/{sha256}"));
                for file in [named, by_hash] {
                    let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
                    assert_eq!((bytes.len() as u64, Sha256::of(&bytes)), (*size, *sha256));
                }
            }
            let index = fs::read_to_string(folder.join("main/binary-amd64/Packages")).unwrap();
            for line in index.lines().filter_map(|line| line.strip_prefix("Filename: ")) {
                assert!(root.join(line).is_file(), "{line}");
            }
        }
    }
}

/// A client of its own.
struct Apt {
    folder: tempfile::TempDir,
}

impl Apt {
    fn of(scene: &Scene, suite: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("status"), "").unwrap();
        let text = format!(
            "Types: deb deb-src\nURIs: file:{}\nSuites: {suite}\nComponents: main\nSigned-By: {}\n",
            scene.root().display(),
            scene.release.path("keys/demo.asc").display(),
        );
        fs::write(folder.path().join("demo.sources"), text).unwrap();
        Self { folder }
    }

    fn run(&self, starter: &[&str], program: &str, words: &[&str]) -> (bool, String) {
        let at = self.folder.path().display().to_string();
        let line = [starter, &[program]].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).args(words).current_dir(self.folder.path());
        for option in [
            format!("Dir::Etc::SourceList={at}/demo.sources"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={at}/lists"),
            format!("Dir::State::Status={at}/status"),
            format!("Dir::Cache={at}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Check-Valid-Until=true".to_owned(),
            "Acquire::Check-Date=true".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        let output = command.env("LC_ALL", "C").output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&told).into_owned())
    }

    /// Reads the indexes without a word of complaint.
    fn updates(&self) {
        let (good, told) = self.run(&[], "apt-get", &["update"]);
        assert!(good && !told.contains("W:") && !told.contains("E:"), "{told}");
    }

    /// The version that would be installed.
    fn candidate(&self, name: &str) -> Option<String> {
        let (_, told) = self.run(&[], "apt-cache", &["policy", name]);
        let line = told.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (line != "(none)").then(|| line.to_owned())
    }
}

#[test]
fn what_is_published_is_what_apt_reads_and_once_is_enough() {
    let scene = Scene::new();
    scene.package("first", "1.0", "one");
    scene.package("second", "1.0", "two");
    let key = fs::read(scene.release.path("keys/demo.asc")).unwrap();
    let secret = scene.keys.path().join("demo.secret.asc");
    fs::copy(secret, scene.release.path("keys/demo.asc")).unwrap();
    let run = scene.release.run("check", &[]).ends_with(1);
    assert!(run.err.contains("keys/demo.asc"), "{}", run.err);
    fs::remove_file(scene.release.path("keys/demo.asc")).unwrap();
    fs::write(scene.release.path("keys/demo.asc"), key).unwrap();
    let run = scene.publish(&["--to", "stable"]).ends_with(1);
    assert!(run.err.contains("not built") && run.err.contains("perestroika build"), "{}", run.err);
    assert!(!scene.root().exists(), "nothing is begun");
    scene.build();
    let run = scene.publish(&[]).ends_with(2);
    assert!(run.err.contains("`proposed`, `stable`"), "{}", run.err);
    let run = scene.publish(&["--to", "stabel"]).ends_with(2);
    assert!(run.err.contains("it has `stable`"), "{}", run.err);
    let plan = scene.publish(&["--to", "stable", "-n", "--json"]).ends_with(0).json();
    assert!(plan["generation"].is_null() && plan["changes"].as_array().unwrap().len() == 5);
    assert!(!scene.root().exists(), "nothing is begun");
    let queue = scene.release.path("queue");
    let changes = ["first", "--to", "stable", "--changes", queue.to_str().unwrap()];
    scene.publish(&changes).ends_with(0);
    scene.is_whole();
    // What goes to another archive's queue is signed, and everything it names is there.
    let signed = fs::read(queue.join("first_1.0_amd64.changes")).unwrap();
    let keyring = fs::read(scene.release.path("keys/demo.asc")).unwrap();
    let now = jiff::Timestamp::now();
    let text = perestroika::archive::deb::signature::verify(&signed, &keyring, now).unwrap().text;
    let listed = text.split("Checksums-Sha256:\n").nth(1).unwrap();
    let files: Vec<&str> = listed.lines().take_while(|line| line.starts_with(' ')).collect();
    assert_eq!(files.len(), 3, "{text}");
    for line in files {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bytes = fs::read(queue.join(words[2])).unwrap();
        assert_eq!(Sha256::of(&bytes).to_string(), words[0], "{line}");
    }
    let apt = Apt::of(&scene, "stable");
    apt.updates();
    assert_eq!(apt.candidate("first").as_deref(), Some("1.0"));
    assert_eq!(apt.candidate("second"), None);

    let run = scene.publish(&["--to", "stable", "--json"]).ends_with(0).json();
    assert_eq!(run["generation"], 2);
    let changed = |document: &Value| -> Vec<String> {
        let changes = document["changes"].as_array().unwrap().iter();
        changes.map(|change| change["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(changed(&run), ["second", "second"], "what is there stays");
    let run = scene.publish(&["--to", "stable"]).ends_with(0);
    assert!(run.out.contains("it has all of this already"), "{}", run.out);
    assert_eq!(scene.live().number, 2);
    scene.is_whole();
    apt.updates();
    let (good, told) = apt.run(&[], "apt-get", &["source", "--download-only", "first"]);
    let warned = told.contains("WARNING") || told.contains("Can't check");
    assert!(good && !warned, "{told}");
    let signed = fs::read(apt.folder.path().join("first_1.0.dsc")).unwrap();
    perestroika::archive::deb::signature::verify(&signed, &keyring, now).unwrap();

    // The release's two names, and the manifest that the second is the digest of.
    let release = fs::read_to_string(scene.root().join("dists/stable/Release")).unwrap();
    let manifest = fs::read(scene.root().join("dists/stable/MANIFEST.json")).unwrap();
    let digest = perestroika::base::Digest::of(&manifest);
    assert!(release.contains(&format!("Perestroika-Manifest: {digest}\n")), "{release}");
    assert!(release.contains("Valid-Until: ") && release.contains("Origin: Demo\n"));
    let contents = fs::read_to_string(scene.root().join("dists/stable/main/Contents-amd64"));
    assert!(contents.unwrap().contains("usr/share/second/text"));
    for name in ["single-stable-archive-keyring.asc", "single-stable-archive-keyring.pgp"] {
        assert!(scene.root().join("keys").join(name).is_file(), "{name}");
    }
    assert!(apt.candidate("single-stable-archive-keyring").is_some());
}

#[test]
fn what_clients_had_is_never_less_and_never_something_else() {
    let scene = Scene::new();
    scene.package("thing", "2.0", "two");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    let before = fs::read(scene.root().join("dists/stable/InRelease")).unwrap();

    scene.package("thing", "2.0", "another");
    scene.build();
    let run = scene.publish(&["--to", "proposed"]).ends_with(1);
    for word in
        ["thing 2.0 (amd64)", "published ", "built ", "generation 1", "usr/share/thing/text"]
    {
        assert!(run.err.contains(word), "no {word:?} in {}", run.err);
    }

    scene.package("thing", "1.5", "older");
    let run = scene.release.run("check", &[]).ends_with(1);
    assert!(run.err.contains("generation 1 brought 2.0 to `stable`"), "{}", run.err);
    let run = scene.release.run("build", &[]).ends_with(2);
    assert!(run.err.contains("thing.rhai:1"), "{}", run.err);
    scene.release.run("build", &["--allow-downgrade"]).ends_with(0);
    let run = scene.publish(&["--to", "stable"]).ends_with(1);
    assert!(run.err.contains("--allow-downgrade thing --reason"), "{}", run.err);
    assert_eq!(fs::read(scene.root().join("dists/stable/InRelease")).unwrap(), before);
    assert_eq!(scene.live().number, 1);
    assert!(!scene.root().join(".perestroika/staging/dists/stable").exists());

    let allowed = ["--to", "stable", "--allow-downgrade", "thing", "--reason", "two was no good"];
    scene.publish(&allowed).ends_with(0);
    let trace: Vec<_> =
        scene.live().changes.into_iter().filter_map(|change| change.downgrade).collect();
    assert_eq!(trace, ["two was no good"; 2]);
    // From there on it begins again: 1.6 is an older version than 2.0, which clients were taken off.
    scene.package("thing", "1.6", "newer");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    let apt = Apt::of(&scene, "stable");
    apt.updates();
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.6"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_perestroika"));
    command.args(["audit", "history", "--json", "--store"]).arg(program::shared_store());
    let history = Run::of(command.current_dir("/")).ends_with(0).json();
    let told = history["entries"].as_array().unwrap().iter();
    assert!(told.filter(|entry| entry["entry"]["kind"] == "generation").count() >= 3);
}

#[test]
fn without_the_right_key_nothing_is_begun() {
    let scene = Scene::new();
    scene.package("thing", "1.0", "one");
    scene.build();
    let refused = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perestroika"));
        command.args(["publish", "--to", "stable"]).args(words);
        command.current_dir(scene.release.path("")).env("GNUPGHOME", scene.keys.path());
        let run = Run::of(command.arg("--store").arg(program::shared_store()));
        assert!(!scene.root().exists(), "something was begun: {}", run.out);
        run
    };
    let run = refused(&[]).ends_with(2);
    assert!(run.err.contains("keys/demo.asc"), "{}", run.err);
    let other = tempfile::tempdir().unwrap();
    let made = Run::of(
        Command::new(env!("CARGO_BIN_EXE_perestroika"))
            .args(["key", "new", "Other <other@example.org>", "-o"])
            .arg(other.path()),
    );
    made.ends_with(0);
    let path = other.path().join("other.secret.asc");
    let run = refused(&["--key-file", path.to_str().unwrap()]).ends_with(2);
    assert!(run.err.contains("another key"), "{}", run.err);
}

#[test]
fn packages_move_between_suites_and_back_and_clients_follow() {
    let scene = Scene::new();
    scene.package("thing", "1.0", "one");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    scene.package("thing", "1.1", "two");
    scene.build();
    scene.publish(&["--to", "proposed"]).ends_with(0);
    let apt = Apt::of(&scene, "stable");
    apt.updates();
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.0"));

    let stable = fs::read(scene.root().join("dists/stable/InRelease")).unwrap();
    let from = ["--from", "proposed", "--to", "stable"];
    scene.repo(&[&["promote", "thing", "-n"], &from[..]].concat()).ends_with(0);
    assert_eq!(fs::read(scene.root().join("dists/stable/InRelease")).unwrap(), stable);
    let run = scene.repo(&[&["promote", "thin"], &from[..]].concat()).ends_with(2);
    assert!(run.err.contains("it has `thing`"), "{}", run.err);
    scene.repo(&[&["promote", "thing"], &from[..]].concat()).ends_with(0);
    apt.updates();
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.1"));

    // Newer lists with older packages.
    scene.repo(&["rollback", "stable"]).ends_with(0);
    apt.updates();
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.0"));
    let live = scene.live();
    assert!(live.changes.iter().all(|change| change.downgrade.is_some()), "{live:?}");
    let plain = |number: u64| {
        let at = format!("generations/{number}/dists/stable/main/binary-amd64/Packages");
        fs::read(scene.root().join(at)).unwrap()
    };
    assert_eq!(plain(live.number), plain(1));

    let words = ["withdraw", "thing", "--from", "stable", "--reason", "it loses data"];
    scene.repo(&words).ends_with(0);
    apt.updates();
    assert_eq!(apt.candidate("thing"), None);
    let contents = scene.root().join("dists/stable/main/Contents-amd64");
    assert!(!fs::read_to_string(contents).unwrap().contains("usr/share/thing"));
    scene.is_whole();
    let number = scene.live().number;
    scene.repo(&["refresh", "stable"]).ends_with(0);
    assert_eq!(scene.live().number, number + 1);
    scene.is_whole();
    let folder = scene.release.path("");
    let shown = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perestroika"));
        Run::of(command.arg("repo").args(words).current_dir(&folder)).ends_with(0)
    };
    let run = shown(&["list"]);
    assert!(run.out.contains("rollback") && run.out.contains("withdraw"), "{}", run.out);
    let run = shown(&["show", &number.to_string()]);
    assert!(run.out.contains("withdrawn: it loses data"), "{}", run.out);
    let run = shown(&["diff", "1", "3"]);
    assert!(run.out.contains("1.0 -> 1.1"), "{}", run.out);
}

#[test]
fn what_is_damaged_or_lost_is_said_or_mended_and_never_forgotten() {
    let scene = Scene::new();
    scene.package("thing", "1.0", "one");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    let words = ["withdraw", "thing", "--from", "stable", "--reason", "a mistake"];
    scene.repo(&words).ends_with(0);
    // Back again it is what it was, and to publish it is nothing new.
    scene.repo(&["rollback", "stable"]).ends_with(0);
    let run = scene.publish(&["--to", "stable"]).ends_with(0);
    assert!(run.out.contains("it has all of this already"), "{}", run.out);

    let deb = scene.root().join("pool/main/t/thing/thing_1.0_amd64.deb");
    let whole = fs::read(&deb).unwrap();
    for wrong in [&whole[..100], &[whole.as_slice(), b"x"].concat()] {
        fs::write(&deb, wrong).unwrap();
        scene.publish(&["--to", "stable"]).ends_with(0);
        assert_eq!(fs::read(&deb).unwrap(), whole);
    }
    fs::write(&deb, &whole[..100]).unwrap();
    scene.repo(&words).ends_with(0);
    let contents = fs::read_to_string(scene.root().join("dists/stable/main/Contents-amd64"));
    assert!(!contents.unwrap().contains("/thing"));

    let number = scene.live().number;
    fs::remove_file(scene.root().join("dists")).unwrap();
    let run = scene.publish(&["--to", "stable"]).ends_with(3);
    let link = format!("generations/{number}/dists");
    assert!(run.err.contains(&format!("ln -s {link} dists")), "{}", run.err);
    std::os::unix::fs::symlink(link, scene.root().join("dists")).unwrap();
    scene.publish(&["--to", "stable"]).ends_with(0);
    assert_eq!(fs::read(&deb).unwrap(), whole);
    scene.is_whole();
}

#[test]
fn stock_apt_refuses_what_is_tampered_with_or_too_old_and_keeps_what_is_newer() {
    let scene = Scene::new();
    scene.package("thing", "1.0", "one");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    scene.package("thing", "1.1", "two");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    let apt = Apt::of(&scene, "stable");
    apt.updates();
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.1"));

    // An older generation is no reason to go back.
    let repository = Repository::open(HostPath::new(scene.root())).unwrap();
    repository.switch(1).unwrap();
    let (_, told) = apt.run(&[], "apt-get", &["update"]);
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.1"), "{told}");
    // And this tool sees it, too.
    let run = scene.publish(&["--to", "stable"]).ends_with(3);
    assert!(run.err.contains("clients read generation 1"), "{}", run.err);
    repository.switch(2).unwrap();

    let (good, told) =
        Apt::of(&scene, "stable").run(&["faketime", "9 days"], "apt-get", &["update"]);
    assert!(!good && told.contains("is expired"), "{told}");

    let refuses = |path: &str| {
        let file = scene.root().join("generations/2/dists/stable").join(path);
        let whole = fs::read(&file).unwrap();
        let mut wrong = whole.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 1;
        fs::write(&file, wrong).unwrap();
        let (good, told) = Apt::of(&scene, "stable").run(&[], "apt-get", &["update"]);
        assert!(!good, "{path}: {told}");
        fs::write(&file, whole).unwrap();
    };
    refuses("InRelease");
    // By its digest, which is another name of the same file.
    refuses("main/binary-amd64/Packages.xz");
    Apt::of(&scene, "stable").updates();
}

#[test]
fn a_publication_that_is_killed_leaves_clients_what_they_had() {
    let scene = Scene::new();
    scene.package("thing", "1.0", "one");
    scene.build();
    scene.publish(&["--to", "stable"]).ends_with(0);
    let key = scene.keys.path().join("demo.secret.asc");
    let mut killed = BTreeMap::new();
    for round in 0..6 {
        let version = format!("1.{}", round + 1);
        scene.package("thing", &version, &version);
        scene.build();
        let before = scene.live().number;
        let mut child = Command::new(env!("CARGO_BIN_EXE_perestroika"))
            .args(["publish", "--to", "stable", "--key-file"])
            .arg(&key)
            .arg("--store")
            .arg(program::shared_store())
            .current_dir(scene.release.path(""))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let path = scene.root().join(".perestroika/staging");
        let stage = kill_at(&mut child, &path, round);
        scene.is_whole();
        let after = scene.live().number;
        assert!(after == before || after == before + 1);
        *killed.entry(stage).or_insert(0) += 1;
    }
    scene.publish(&["--to", "stable"]).ends_with(0);
    assert!(!scene.root().join(".perestroika/staging").exists());
    scene.is_whole();
    let apt = Apt::of(&scene, "stable");
    apt.updates();
    assert_eq!(apt.candidate("thing").as_deref(), Some("1.6"));
    assert!(killed.get("under way").is_some_and(|times| *times > 2), "{killed:?}");
}

/// Kills a publication once its staging folder has as many entries as `wanted` says, or after it has
/// gone again; says when that was.
fn kill_at(child: &mut std::process::Child, staging: &Path, wanted: usize) -> &'static str {
    loop {
        let entries = count(staging);
        if entries > wanted * 5 {
            child.kill().unwrap();
            child.wait().unwrap();
            return "under way";
        }
        if child.try_wait().unwrap().is_some() {
            return "at the end";
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// How many files and folders there are below one.
fn count(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let one = |entry: fs::DirEntry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        1 + if is_folder { count(&entry.path()) } else { 0 }
    };
    entries.flatten().map(one).sum()
}
