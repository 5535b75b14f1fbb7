//! Small repositories in the layout of `publish::layout`, written by hand, and a reader that
//! checks what a client would.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of this")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use perestroika::base::{DerivationId, HostPath, Sha256};
use perestroika::publish::layout::pool_folder;
use perestroika::publish::{Generation, Published, Reason, Repository, State};

/// A repository in a folder of its own.
pub struct Made {
    pub folder: tempfile::TempDir,
    pub repository: Repository,
}

/// A package's name and version.
pub type Package<'a> = (&'a str, &'a str);

impl Made {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = HostPath::new(folder.path().join("repo"));
        let repository = Repository::open_or_create(root).unwrap();
        fs::write(repository.path("keys/archive.asc"), "a key\n").unwrap();
        Self { folder, repository }
    }

    pub fn path(&self) -> PathBuf {
        self.repository.root().as_path().to_owned()
    }

    /// Publishes these packages, and no others, to the suite `stable`; gives the generation.
    pub fn publish(&self, date: i64, packages: &[Package<'_>]) -> u64 {
        self.publish_release(date, packages, None)
    }

    /// The same of a release with this id.
    pub fn publish_release(
        &self,
        date: i64,
        packages: &[Package<'_>],
        id: Option<DerivationId>,
    ) -> u64 {
        let number = self.repository.generations().unwrap().last().map_or(1, |last| last + 1);
        let dists = self.repository.generation_path(number).join("dists");
        let suite = dists.join("stable");
        let mut files = BTreeMap::new();
        let (mut binaries, mut sources) = (String::new(), String::new());
        for (name, version) in packages {
            let folder = format!("pool/{}", pool_folder("main", name));
            fs::create_dir_all(self.repository.path(&folder)).unwrap();
            let put = |file: &str| {
                let bytes = format!("{file}\n").repeat(20).into_bytes();
                let path = self.repository.path(format!("{folder}/{file}"));
                if !path.as_path().exists() {
                    fs::write(&path, &bytes).unwrap();
                }
                (bytes.len(), Sha256::of(&bytes))
            };
            let deb = format!("{name}_{version}_all.deb");
            let (size, sha256) = put(&deb);
            writeln!(
                binaries,
                "Package: {name}\nVersion: {version}\nArchitecture: all\n\
                 Filename: {folder}/{deb}\nSize: {size}\nSHA256: {sha256}\n"
            )
            .unwrap();
            let dsc = format!("{name}_{version}.dsc");
            let (size, sha256) = put(&dsc);
            writeln!(
                sources,
                "Package: {name}\nVersion: {version}\nDirectory: {folder}\n\
                 Checksums-Sha256:\n {sha256} {size} {dsc}\n"
            )
            .unwrap();
        }
        for (folder, name, text) in
            [("main/binary-amd64", "Packages", &binaries), ("main/source", "Sources", &sources)]
        {
            let there = suite.join(folder);
            fs::create_dir_all(&there).unwrap();
            symlink("../../../../../../by-hash", there.join("by-hash")).unwrap();
            let packed = xz(text.as_bytes());
            for (name, bytes) in
                [(name.to_owned(), text.as_bytes()), (format!("{name}.xz"), &packed[..])]
            {
                let sha256 = Sha256::of(bytes);
                let by_hash = self.repository.path(format!("by-hash/SHA256/{sha256}"));
                if !by_hash.as_path().exists() {
                    fs::write(&by_hash, bytes).unwrap();
                }
                fs::hard_link(&by_hash, there.join(&name)).unwrap();
                files.insert(format!("{folder}/{name}"), (bytes.len(), sha256));
            }
        }
        let when = jiff::Timestamp::from_second(date).unwrap();
        let mut release = format!(
            "Suite: stable\nDate: {}\nAcquire-By-Hash: yes\nArchitectures: amd64\n\
             Components: main\nSHA256:\n",
            when.strftime("%a, %d %b %Y %H:%M:%S UTC")
        );
        for (path, (size, sha256)) in &files {
            writeln!(release, " {sha256} {size} {path}").unwrap();
        }
        fs::write(suite.join("Release"), &release).unwrap();
        fs::write(suite.join("Release.gpg"), format!("a signature of {number}\n")).unwrap();
        fs::write(suite.join("InRelease"), format!("signed {number}\n{release}")).unwrap();
        let state = State {
            release: Sha256::of(release.as_bytes()),
            components: vec!["main".to_owned()],
            architectures: vec!["amd64".to_owned()],
            valid_until: None,
            packages: packages.len() as u64,
            published: id.map(|id| Published {
                name: "demo".to_owned(),
                version: "1.0".to_owned(),
                id,
                manifest: None,
            }),
        };
        let suites = BTreeMap::from([("stable".to_owned(), state)]);
        let generation = Generation::new(number, date, None, Reason::Publish, suites, Vec::new());
        fs::write(dists.join("GENERATION.json"), generation.encode()).unwrap();
        self.repository.switch(number).unwrap();
        number
    }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The generation that a client finds in a folder, having read all that it names: every index by
/// its digest, every package of each. Panics if anything is missing or wrong.
#[track_caller]
pub fn read(root: &Path) -> u64 {
    read_with(&|path| fs::read(root.join(path)).ok())
}

/// The same of whatever gives a file's bytes.
#[track_caller]
pub fn read_with(get: &dyn Fn(&str) -> Option<Vec<u8>>) -> u64 {
    let text = |path: &str| {
        let bytes = get(path).unwrap_or_else(|| panic!("{path} is not there"));
        String::from_utf8(bytes).unwrap()
    };
    let signed = text("dists/stable/InRelease");
    let (first, release) = signed.split_once('\n').unwrap();
    let number = first.strip_prefix("signed ").unwrap().parse().unwrap();
    let listed: Vec<(&str, u64, &str)> = rows(release.split_once("SHA256:\n").unwrap().1).collect();
    assert_eq!(listed.len(), 4);
    for (sha256, _, path) in listed {
        let folder = path.rsplit_once('/').unwrap().0;
        let by_hash = format!("dists/stable/{folder}/by-hash/SHA256/{sha256}");
        let bytes = get(&by_hash).unwrap_or_else(|| panic!("{by_hash} is not there"));
        assert_eq!(Sha256::of(&bytes).to_string(), sha256, "{path}");
        if path.ends_with(".xz") {
            continue;
        }
        let index = String::from_utf8(bytes).unwrap();
        for paragraph in index.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            let field = |name: &str| {
                let found = paragraph.lines().find_map(|line| line.strip_prefix(name));
                found.unwrap_or_default().trim().to_owned()
            };
            let (file, sha256) = match paragraph.split_once("Checksums-Sha256:\n") {
                Some((_, lines)) => {
                    let (sha256, _, name) = rows(lines).next().unwrap();
                    (format!("{}/{name}", field("Directory:")), sha256.to_owned())
                }
                None => (field("Filename:"), field("SHA256:")),
            };
            let bytes = get(&file).unwrap_or_else(|| panic!("{file} is not there"));
            assert_eq!(Sha256::of(&bytes).to_string(), sha256, "{file}");
        }
    }
    number
}

fn rows(text: &str) -> impl Iterator<Item = (&str, u64, &str)> {
    text.lines().map(|line| {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap();
        (next(), next().parse().unwrap(), next())
    })
}
