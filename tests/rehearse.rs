//! Generations tried by the real apt before clients read them: packages made by dpkg-deb, indexes
//! signed by gpg, and a client of the pinned Debian archive.
//!
//! The client's root is kept in the store that all tests share.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gnupg;
mod program;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use gnupg::Gnupg;
use jiff::{SignedDuration, Timestamp};
use perestroika::base::{Architecture, HostPath, Sha256};
use perestroika::fetch::{Client as Fetcher, Mirrors, Network, Patience, Places, Search};
use perestroika::publish::rehearse::{
    Candidate, Client, Extent, Progress, Refused, Rehearsal, Stage, Suite, Verdict, rehearse,
};
use perestroika::realise::retry::Retries;
use perestroika::realise::upstream::Upstream;
use perestroika::realise::world::World;
use perestroika::sandbox::native::Native;
use perestroika::spec::lock;
use perestroika::store::{CapsuleLimits, Store};
use program::{PROGRAM, here, shared_store};

/// A repository in the layout of this program, with a key of its own.
struct Repository {
    folder: tempfile::TempDir,
    gnupg: Gnupg,
}

impl Repository {
    fn new() -> Self {
        let gnupg = Gnupg::new();
        gnupg.key("one", "ed25519", "sign", "0");
        let repository = Self { folder: tempfile::tempdir().unwrap(), gnupg };
        for part in ["pool", "by-hash/SHA256", "generations"] {
            fs::create_dir_all(repository.path(part)).unwrap();
        }
        repository
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Puts a package into the pool; gives its paragraph of the index.
    fn package(&self, name: &str, version: &str, fields: &str, scripts: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let share = tree.join(format!("usr/share/{name}"));
        fs::create_dir_all(&share).unwrap();
        fs::write(share.join("version"), version).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: T <t@example.org>\n\
             {fields}Description: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        for (script, text) in scripts {
            let path = tree.join("DEBIAN").join(script);
            fs::write(&path, format!("#!/bin/sh\nset -e\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let file = format!("pool/{name}_{version}_all.deb");
        let built = Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&tree, &self.path(&file)])
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        let bytes = fs::read(self.path(&file)).unwrap();
        let (size, sha256) = (bytes.len(), Sha256::of(&bytes));
        format!("{control}Filename: {file}\nSize: {size}\nSHA256: {sha256}\n\n")
    }

    /// The folder of a generation, which has `dists`.
    fn generation(&self, number: u64) -> HostPath {
        HostPath::new(self.path(&format!("generations/{number}")))
    }

    /// Adds a suite to a generation, made so many minutes ago and signed by this key.
    fn suite(&self, number: u64, name: &str, minutes: i64, key: &str, packages: &[String]) {
        let suite = self.generation(number).join("dists").join(name);
        let binary = suite.join("main/binary-amd64");
        fs::create_dir_all(&binary).unwrap();
        symlink("../../../../../../by-hash", binary.join("by-hash")).unwrap();
        let text = packages.concat();
        let gz = gzip(text.as_bytes());
        let mut list = String::new();
        for (file, bytes) in [("Packages", text.as_bytes()), ("Packages.gz", &gz)] {
            let sha256 = Sha256::of(bytes);
            let by_hash = self.path(&format!("by-hash/SHA256/{sha256}"));
            let _ = fs::remove_file(&by_hash);
            fs::write(&by_hash, bytes).unwrap();
            fs::hard_link(&by_hash, binary.join(file)).unwrap();
            list.push_str(&format!(" {sha256} {} main/binary-amd64/{file}\n", bytes.len()));
        }
        let now = Timestamp::now() - SignedDuration::from_mins(minutes);
        let date = now.strftime("%a, %d %b %Y %H:%M:%S UTC");
        let release = format!(
            "Origin: Test\nSuite: {name}\nCodename: {name}\nDate: {date}\nAcquire-By-Hash: yes\n\
             Architectures: amd64\nComponents: main\nSHA256:\n{list}"
        );
        let signed = self.gnupg.clearsign(&release, &now.to_string(), &["--local-user", key]);
        fs::write(suite.join("InRelease"), signed).unwrap();
    }

    /// The second generation, tried by clients of the first.
    fn rehearse(&self, suites: &[Suite], extent: Extent) -> Verdict {
        let store = Store::open(&HostPath::new(shared_store())).unwrap();
        let folder = HostPath::new(here("specs/single"));
        let lock = lock::parse(&fs::read_to_string(folder.join("release.lock")).unwrap()).unwrap();
        let keys = fs::read(folder.join("keys/debian.pgp")).unwrap();
        let mirrors = Mirrors::new(Search {
            archive: "bookworm".to_owned(),
            suites: vec!["bookworm".to_owned()],
            keyring: keys.clone(),
            given: Vec::new(),
            release: Vec::new(),
            places: Places::of_this_host(),
        });
        let fetcher = Fetcher::new(Network::Online, Patience::default());
        let upstream = Upstream::new(folder.clone(), lock, fetcher, vec![mirrors]);
        let cancel = AtomicBool::new(false);
        let world = World {
            store: &store,
            executor: &Native::new(HostPath::new(PROGRAM)),
            upstream: &upstream,
            folder: &folder,
            retries: Retries::default(),
            capsules: CapsuleLimits::default(),
            cancel: &cancel,
        };
        let architecture: Architecture = "amd64".parse().unwrap();
        let rehearsal = Rehearsal {
            repository: &HostPath::new(self.folder.path()),
            staged: &self.generation(2),
            previous: Some(&self.generation(1)),
            key: &self.gnupg.export(&["one"]),
            suites,
            client: Client { archive: "bookworm", keys: &keys, architecture: &architecture },
            extent,
        };
        let trials = Mutex::new(0);
        let verdict = rehearse(&world, &rehearsal, &|progress| {
            if let Progress::Package { done, total, .. } = progress {
                assert!(done <= total);
                *trials.lock().unwrap() += 1;
            }
        });
        let verdict = verdict.unwrap();
        let trials = *trials.lock().unwrap();
        assert!(trials >= verdict.installed + verdict.upgraded);
        verdict
    }
}

fn suite(name: &str, candidates: Vec<Candidate>) -> Suite {
    let components = vec!["main".to_owned()];
    Suite { name: name.to_owned(), components, beside: Vec::new(), candidates }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let zipped = Command::new("gzip").args(["-9nc"]).arg(file.path()).output().unwrap();
    assert!(zipped.status.success());
    zipped.stdout
}

fn candidate(name: &str, version: &str, old: Option<&str>) -> Candidate {
    Candidate {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        architecture: "all".parse().unwrap(),
        old: old.map(|old| old.parse().unwrap()),
    }
}

/// `greet 1.0 cannot be installed: why; why`
fn told(refused: &[Refused]) -> Vec<String> {
    refused.iter().map(|one| format!("{one}: {}", one.why.join("; "))).collect()
}

/// A script that fails if anything but its own loopback can be reached.
const NO_NETWORK: &str = r#"
perl -MIO::Socket::INET -e '
    exit 1 if IO::Socket::INET->new(PeerAddr => "192.0.2.1", PeerPort => 80, Timeout => 5);
    exit($!{ENETUNREACH} ? 0 : 2);'
test "$(grep -c : /proc/net/dev)" = 1
"#;

#[test]
fn each_package_is_installed_upgraded_and_removed_by_itself() {
    let repository = Repository::new();
    let package = |name: &str, version: &str, fields: &str, scripts: &[(&str, &str)]| {
        repository.package(name, version, fields, scripts)
    };
    let no_upgrade = [("preinst", "[ \"$1\" != upgrade ] || { echo stays; exit 1; }")];
    repository.suite(
        1,
        "stable",
        2,
        "one",
        &[
            package("mover", "1.0", "", &[]),
            package("breaker", "1.0", "", &[]),
            package("hello", "1.0", "Depends: nothing-such\n", &[]),
        ],
    );
    repository.suite(
        2,
        "stable",
        1,
        "one",
        &[
            // Needs a package of the pinned archive, and uses it; no other may be there.
            package(
                "good",
                "1.0",
                "Depends: lzip\nConflicts: hello\n",
                &[("postinst", &format!("lzip --version{NO_NETWORK}"))],
            ),
            package("loner", "1.0", "Depends: libnone (>= 2), good\n", &[]),
            // The archive has another of this version.
            package("hello", "2.10-3", "", &[]),
            package("bad-start", "1.0", "", &[("postinst", "echo no such thing; exit 3")]),
            package("bad-end", "1.0", "", &[("prerm", "echo never; exit 4")]),
            package("killer", "1.0", "", &[("postinst", "kill -9 -1")]),
            package("mover", "2.0", "", &[]),
            package("breaker", "2.0", "", &no_upgrade),
        ],
    );
    let fresh = ["good", "loner", "bad-start", "bad-end", "killer"];
    let fresh = fresh.iter().map(|name| candidate(name, "1.0", None));
    let fresh = fresh.chain([candidate("hello", "2.10-3", Some("1.0"))]);
    let newer = ["mover", "breaker"].map(|name| candidate(name, "2.0", Some("1.0")));
    let foreign =
        Candidate { architecture: "arm64".parse().unwrap(), ..candidate("foreign", "1.0", None) };
    let candidates = fresh.chain(newer).chain([foreign]).collect();
    let verdict = repository.rehearse(&[suite("stable", candidates)], Extent::Full);
    let failures = told(&verdict.failures);
    assert_eq!(
        failures,
        [
            "bad-end 1.0 cannot be removed: never; dpkg: error processing package bad-end \
             (--remove): installed bad-end package pre-removal script subprocess returned error \
             exit status 4",
            "bad-start 1.0 cannot be installed: no such thing; dpkg: error processing package \
             bad-start (--configure): installed bad-start package post-installation script \
             subprocess returned error exit status 3",
            "breaker 2.0 cannot be upgraded to: stays; dpkg: error processing archive \
             /var/cache/apt/archives/breaker_2.0_all.deb (--unpack): new breaker package \
             pre-installation script subprocess returned error exit status 1",
            "killer 1.0 cannot be installed: the client did not come to its end: it was killed",
            "loner 1.0 cannot be installed: loner : Depends: libnone (>= 2) but it is not \
             installable",
        ],
        "{failures:#?}"
    );
    assert_eq!(verdict.failures[1].stage, Stage::Install);
    assert!(verdict.failures[1].log.contains("Setting up bad-start"), "{:?}", verdict.failures[1]);
    assert_eq!(
        told(&verdict.unproven),
        [
            "hello 2.10-3 cannot be upgraded to: hello : Depends: nothing-such but it is not installable"
        ]
    );
    // good, hello, and the two that clients have in an older version.
    assert_eq!((verdict.installed, verdict.upgraded, verdict.elsewhere), (4, 1, 1));
}

#[test]
fn what_a_client_would_not_read_is_not_switched_to() {
    let repository = Repository::new();
    repository.gnupg.key("two", "ed25519", "sign", "0");
    let package = |version: &str| [repository.package("one", version, "", &[])];
    for (name, minutes, key) in [
        ("good", 1, "one"),
        ("foreign", 1, "two"),
        // Older than what clients have: stock apt says nothing of it, and keeps that.
        ("older", 60, "one"),
        ("changed", 1, "one"),
    ] {
        repository.suite(1, name, 5, "one", &package("1.0"));
        repository.suite(2, name, minutes, key, &package(&format!("2.0+{name}")));
    }
    // A suite that is new.
    repository.suite(2, "fresh", 1, "one", &package("1.0"));
    // After it was signed, in all its forms, by name and by digest.
    let binary = repository.generation(2).join("dists/changed/main/binary-amd64");
    for name in ["Packages", "Packages.gz"] {
        tamper(binary.join(name).as_path());
    }
    let suites = ["good", "foreign", "older", "changed", "fresh"].map(|it| suite(it, Vec::new()));
    let verdict = repository.rehearse(&suites, Extent::Update);
    let told: Vec<String> = told(&verdict.failures);
    let [changed, foreign, older] = &told[..] else { panic!("{told:#?}") };
    for (told, suite, why) in [
        (changed, "changed", "Hash Sum mismatch"),
        (foreign, "foreign", "NO_PUBKEY"),
        (older, "older", "apt silently keeps what it has of `older`"),
    ] {
        let begin = format!("the indexes of suite `{suite}` cannot be read: ");
        assert!(told.starts_with(&begin) && told.contains(why), "{told}");
    }
    assert_eq!(verdict.failures[0].stage, Stage::Update);
    assert_eq!(Verdict { failures: Vec::new(), ..verdict }, Verdict::default());
}

/// Changes the last byte of a file, and of all its other names.
fn tamper(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}
