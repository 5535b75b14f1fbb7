//! A repository as `publish` leaves it, written by hand: signed generations of suites with one
//! component and one architecture.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses its part")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use perestroika::base::{Digest, HostPath, Sha256};
use perestroika::publish::layout::pool_folder;
use perestroika::publish::sign::{Places, PublicFile, Signers};
use perestroika::publish::{Change, Generation, Reason, Repository, State};

use crate::gnupg::Gnupg;

/// What a suite lists: paragraphs of binary packages and of source packages.
#[derive(Clone, Default)]
pub struct Listed {
    pub packages: Vec<String>,
    pub sources: Vec<String>,
}

/// A repository in a folder of its own, and the key that signs it.
pub struct Published {
    pub folder: tempfile::TempDir,
    pub repository: Repository,
    signers: Signers,
    previous: Cell<Option<Digest>>,
    number: Cell<u64>,
    date: Cell<i64>,
}

impl Published {
    /// An empty one, which everybody on this machine can read, with its key in `keys/test.asc`.
    pub fn new() -> Self {
        let gnupg = Gnupg::new();
        gnupg.key("repository", "ed25519", "sign,cert", "0");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret.pgp");
        let secret = gnupg.run(crate::gnupg::MADE, &["--export-secret-keys", "repository"], b"");
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let bytes = gnupg.export(&["repository"]);
        let public = PublicFile { path: HostPath::new("public.pgp"), bytes };
        let places = Places { key_files: vec![HostPath::new(&file)], ..Places::default() };
        let signers = Signers::for_keys(&[public], &places, Timestamp::now()).unwrap();
        let open = |path: &Path| {
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        };
        open(folder.path());
        let root = folder.path().join("repo");
        let repository = Repository::open_or_create(HostPath::new(&root)).unwrap();
        open(&root);
        fs::write(root.join("keys/test.asc"), signers.public()).unwrap();
        let date = Cell::new(Timestamp::now().as_second() - 100_000);
        let (previous, number) = (Cell::new(None), Cell::new(0));
        Self { folder, repository, signers, previous, number, date }
    }

    pub fn root(&self) -> &Path {
        self.repository.root().as_path()
    }

    pub fn keyring(&self) -> PathBuf {
        self.root().join("keys/test.asc")
    }

    pub fn fingerprint(&self) -> &str {
        &self.signers.fits()[0].fingerprint
    }

    /// Puts a package of these further control fields into the pool. Gives its paragraph.
    pub fn package(&self, name: &str, version: &str, fields: &str) -> String {
        let control = control(name, version, fields);
        let work = tempfile::tempdir().unwrap();
        fs::create_dir(work.path().join("DEBIAN")).unwrap();
        fs::write(work.path().join("DEBIAN/control"), &control).unwrap();
        let folder = format!("pool/{}", pool_folder("main", name));
        fs::create_dir_all(self.root().join(&folder)).unwrap();
        let file = format!("{folder}/{name}_{version}_amd64.deb");
        let mut build = Command::new("dpkg-deb");
        build.args(["--root-owner-group", "--build"]).arg(work.path()).arg(self.root().join(&file));
        let output = build.env("SOURCE_DATE_EPOCH", "0").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let bytes = fs::read(self.root().join(&file)).unwrap();
        paragraph(&control, &file, &bytes)
    }

    /// Writes the next generation, of these suites, and gives its number. Nobody reads it before
    /// [`Self::switch`].
    pub fn stage(&self, suites: &[(&str, &Listed)], changes: Vec<Change>) -> u64 {
        let number = self.number.get() + 1;
        let date = self.date.get() + 1;
        let mut states = BTreeMap::new();
        for (suite, listed) in suites {
            states.insert((*suite).to_owned(), self.suite(number, date, suite, listed));
        }
        let previous = self.previous.get();
        let generation = Generation::new(number, date, previous, Reason::Publish, states, changes);
        let bytes = generation.encode();
        self.previous.set(Some(Digest::of(&bytes)));
        let path = self.repository.generation_path(number).join("dists/GENERATION.json");
        fs::create_dir_all(path.as_path().parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.number.set(number);
        self.date.set(date);
        number
    }

    /// Writes a generation and makes it what clients read.
    pub fn publish(&self, suites: &[(&str, &Listed)], changes: Vec<Change>) -> u64 {
        let number = self.stage(suites, changes);
        self.repository.switch(number).unwrap();
        number
    }

    fn suite(&self, number: u64, date: i64, suite: &str, listed: &Listed) -> State {
        let folder = self.repository.generation_path(number).join("dists").join(suite);
        let mut lines = String::new();
        let mut index = |path: &str, paragraphs: &[String]| {
            let text = paragraphs.iter().map(|one| format!("{one}\n")).collect::<String>();
            for (suffix, bytes) in [("", text.clone().into_bytes()), (".xz", packed(&text))] {
                let sha256 = Sha256::of(&bytes);
                let file = folder.join(format!("{path}{suffix}"));
                let parent = file.as_path().parent().unwrap();
                fs::create_dir_all(parent).unwrap();
                let kept = self.root().join(format!("by-hash/SHA256/{sha256}"));
                if !kept.exists() {
                    fs::write(&kept, &bytes).unwrap();
                }
                fs::hard_link(&kept, &file).unwrap();
                let up = "../".repeat(parent.strip_prefix(self.root()).unwrap().iter().count());
                let link = parent.join("by-hash");
                if link.symlink_metadata().is_err() {
                    symlink(format!("{up}by-hash"), link).unwrap();
                }
                lines += &format!(" {sha256} {} {path}{suffix}\n", bytes.len());
            }
        };
        index("main/binary-amd64/Packages", &listed.packages);
        index("main/source/Sources", &listed.sources);
        let made = Timestamp::from_second(date).unwrap();
        let text = format!(
            "Origin: Hand\nSuite: {suite}\nCodename: {suite}\nDate: {}\nAcquire-By-Hash: yes\n\
             Architectures: amd64\nComponents: main\nSHA256:\n{lines}",
            made.strftime("%a, %d %b %Y %H:%M:%S UTC"),
        );
        let signed = self.signers.clear_sign(&text, made).unwrap();
        let detached = self.signers.detach(text.as_bytes(), made).unwrap();
        let files = [("InRelease", &signed), ("Release", &text), ("Release.gpg", &detached)];
        let seconds = Duration::from_secs(date.unsigned_abs());
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + seconds).unwrap();
        }
        State {
            release: Sha256::of(text.as_bytes()),
            components: vec!["main".to_owned()],
            architectures: vec!["amd64".to_owned()],
            valid_until: None,
            packages: (listed.packages.len() + listed.sources.len()) as u64,
            published: None,
        }
    }
}

/// The control file of a package.
pub fn control(name: &str, version: &str, fields: &str) -> String {
    let described = if fields.contains("Description:") { "" } else { "Description: test\n" };
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n\
         Maintainer: A <a@example.org>\n{fields}{described}"
    )
}

/// The paragraph of an index for a package with this control file.
pub fn paragraph(control: &str, file: &str, bytes: &[u8]) -> String {
    let (size, sha256) = (bytes.len(), Sha256::of(bytes));
    format!("{control}Filename: {file}\nSize: {size}\nSHA256: {sha256}\n")
}

/// That a suite has got a package.
pub fn got(suite: &str, name: &str, old: Option<&str>, new: &str) -> Change {
    Change {
        suite: suite.to_owned(),
        name: name.to_owned(),
        architecture: "amd64".to_owned(),
        old: old.map(str::to_owned),
        new: Some(new.to_owned()),
        component: "main".to_owned(),
        source: name.to_owned(),
        payload: None,
        derivation: None,
        action: None,
        downgrade: None,
    }
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}
