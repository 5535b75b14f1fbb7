//! A small real Debian archive, made and signed by the distribution's own tools, and a web server
//! that can misbehave.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use perestroika::base::Sha256;

use crate::gnupg::Gnupg;

/// A release over the archive, of no packages yet.
pub const RELEASE: &str = r#"
[release]
name = "demo"
version = "1.0"
maintainer = "A <a@example.org>"
architectures = ["amd64"]

[archive.test]
format = "deb"
suites = ["stable"]
components = ["main"]
keyring = "keys/test.pgp"

[root.test]
archive = "test"
packages = []
"#;

/// What the server does instead of serving a file.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status so many times, then serves the file.
    Fails(u32, u16),
    /// Leads elsewhere.
    Redirect(String),
    /// Announces the file's size and sends half of it.
    Truncate,
    /// Sends one byte every 20 milliseconds.
    Drip,
    /// Takes the request and says nothing.
    Silence,
    /// Serves these bytes.
    Replace(Vec<u8>),
    /// Sends zeros without end and without saying how many.
    Endless,
}

type Behaviours = Arc<Mutex<BTreeMap<String, Behaviour>>>;

/// A folder on 127.0.0.1.
pub struct Server {
    pub folder: tempfile::TempDir,
    pub url: String,
    behaviours: Behaviours,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/debian", listener.local_addr().unwrap());
        let (behaviours, requests) = (Behaviours::default(), Arc::new(Mutex::new(Vec::new())));
        let root = folder.path().to_owned();
        let (shared, log) = (Arc::clone(&behaviours), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (root, shared, log) = (root.clone(), Arc::clone(&shared), Arc::clone(&log));
                thread::spawn(move || serve(stream, &root, &shared, &log));
            }
        });
        Self { folder, url, behaviours, requests }
    }

    /// From now on, `path` (below the archive's root) is served like this.
    pub fn behave(&self, path: &str, behaviour: Behaviour) {
        self.behaviours.lock().unwrap().insert(format!("/debian/{path}"), behaviour);
    }

    pub fn heal(&self) {
        self.behaviours.lock().unwrap().clear();
    }

    /// The paths asked for since the last time.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, root: &Path, behaviours: &Behaviours, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let path = decoded(request.split(' ').nth(1).unwrap());
    log.lock().unwrap().push(path.clone());
    let behaviour = {
        let mut behaviours = behaviours.lock().unwrap();
        match behaviours.get_mut(&path) {
            Some(Behaviour::Fails(0, _)) | None => None,
            Some(Behaviour::Fails(left, status)) => {
                *left -= 1;
                Some(Behaviour::Status(*status))
            }
            Some(other) => Some(other.clone()),
        }
    };
    let plain = path.split('?').next().unwrap_or_default().trim_start_matches("/debian/");
    let file = fs::read(root.join(plain)).ok();
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
    match (behaviour, file) {
        (Some(Behaviour::Status(status)), _) => {
            let head = format!("HTTP/1.1 {status} No\r\nConnection: close\r\n");
            send(format!("{head}Content-Length: 2\r\n\r\nno").as_bytes());
        }
        (Some(Behaviour::Redirect(to)), _) => {
            let head = "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n";
            send(format!("{head}Location: {to}\r\n\r\n").as_bytes());
        }
        (Some(Behaviour::Silence), _) => thread::sleep(Duration::from_secs(60)),
        (Some(Behaviour::Endless), _) => {
            send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while send(&[0; 65536]) {}
        }
        (Some(Behaviour::Replace(bytes)), _) => {
            send(&[head(bytes.len()).as_bytes(), &bytes].concat());
        }
        (Some(Behaviour::Truncate), Some(bytes)) => {
            send(&[head(bytes.len()).as_bytes(), &bytes[..bytes.len() / 2]].concat());
        }
        (Some(Behaviour::Drip), Some(bytes)) => {
            let mut going = send(head(bytes.len()).as_bytes());
            for byte in bytes {
                thread::sleep(Duration::from_millis(20));
                going = going && send(&[byte]);
            }
        }
        (Some(Behaviour::Fails(..)) | None, Some(bytes)) => {
            send(&[head(bytes.len()).as_bytes(), &bytes].concat());
        }
        (_, None) => {
            send(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
    }
}

fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push(u8::from_str_radix(&part[..2], 16).unwrap() as char);
        out.push_str(&part[2..]);
    }
    out
}

/// An archive with the suite `stable` (codename `test`): source `alpha` with the binaries `alpha`
/// (amd64, provides `alpha-api (= 1)`) and `alpha-doc` (all), and the binary `g++-beta` (amd64).
pub struct Archive {
    pub server: Server,
    pub gnupg: Gnupg,
}

impl Archive {
    /// Version 1.0-1 of everything.
    pub fn new() -> Self {
        let archive = Self { server: Server::new(), gnupg: Gnupg::new() };
        archive.gnupg.key("archive", "ed25519", "sign,cert", "0");
        archive.publish("1.0-1");
        archive
    }

    pub fn keyring(&self) -> Vec<u8> {
        self.gnupg.export(&["archive"])
    }

    pub fn root(&self) -> &Path {
        self.server.folder.path()
    }

    /// Adds this version of all packages to the pool and makes it the suite's only one.
    pub fn publish(&self, version: &str) {
        let pool = self.root().join("pool/main");
        let _ = fs::remove_dir_all(&pool);
        fs::create_dir_all(&pool).unwrap();
        binary(&pool, "alpha", version, "amd64", "Provides: alpha-api (= 1)\nSource: alpha\n");
        binary(&pool, "alpha-doc", version, "all", "Source: alpha\n");
        binary(&pool, "g++-beta", version, "amd64", "");
        source(&pool, "alpha", version);
        self.index();
    }

    /// Makes what is in the pool the suite.
    pub fn index(&self) {
        let suite = self.root().join("dists/stable");
        let tool = |arguments: &[&str]| {
            run(Command::new("apt-ftparchive").args(arguments).current_dir(self.root()))
        };
        let write = |path: &str, bytes: &[u8]| {
            let path = suite.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("main/binary-amd64/Packages", &tool(&["packages", "pool"]));
        write("main/source/Sources", &tool(&["sources", "pool"]));
        for index in ["main/binary-amd64/Packages", "main/source/Sources"] {
            for (program, suffix) in [("xz", ".xz"), ("gzip", ".gz")] {
                let bytes = run(Command::new(program).arg("-c").arg(suite.join(index)));
                write(&format!("{index}{suffix}"), &bytes);
            }
        }
        self.sign(Timestamp::now(), "");
        self.hide_uncompressed();
    }

    /// Writes a new Release file over the indexes as they are, with these further lines.
    pub fn sign(&self, date: Timestamp, lines: &str) {
        let suite = self.root().join("dists/stable");
        for name in ["InRelease", "Release"] {
            let _ = fs::remove_file(suite.join(name));
        }
        let listing = run(Command::new("apt-ftparchive")
            .args(["release", "dists/stable"])
            .args(["-o", "APT::FTPArchive::Release::Acquire-By-Hash=yes"])
            .current_dir(self.root()));
        let listing = String::from_utf8(listing).unwrap();
        let kept = listing
            .lines()
            .filter(|line| !line.starts_with("Date:") && !line.starts_with("Acquire-By-Hash"));
        let files: Vec<&str> = kept.filter(|line| !line.contains("by-hash")).collect();
        let date = date.strftime("%a, %d %b %Y %H:%M:%S UTC");
        let head = "Suite: stable\nCodename: test\nAcquire-By-Hash: yes\nArchitectures: amd64\n\
                    Components: main\n";
        let text = format!("{head}Date: {date}\n{lines}{}\n", files.join("\n"));
        let now = Timestamp::now().to_string();
        fs::write(suite.join("InRelease"), self.gnupg.clearsign(&text, &now, &[])).unwrap();
        for index in ["main/binary-amd64/Packages", "main/source/Sources"] {
            for suffix in [".xz", ".gz"] {
                let bytes = fs::read(suite.join(format!("{index}{suffix}"))).unwrap();
                let folder = suite.join(index).parent().unwrap().join("by-hash/SHA256");
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(Sha256::of(&bytes).to_string()), bytes).unwrap();
            }
        }
    }

    /// Archives list uncompressed indexes and do not serve them.
    fn hide_uncompressed(&self) {
        for index in ["main/binary-amd64/Packages", "main/source/Sources"] {
            fs::remove_file(self.root().join("dists/stable").join(index)).unwrap();
        }
    }

    pub fn in_release(&self) -> Vec<u8> {
        fs::read(self.root().join("dists/stable/InRelease")).unwrap()
    }

    /// Where the server has the index `path` (with suffix) by its digest.
    pub fn by_hash(&self, path: &str) -> String {
        let bytes = fs::read(self.root().join("dists/stable").join(path)).unwrap();
        let folder = path.rsplit_once('/').unwrap().0;
        format!("dists/stable/{folder}/by-hash/SHA256/{}", Sha256::of(&bytes))
    }
}

/// Puts a package of these control fields, with no files, into the pool.
pub fn binary(pool: &Path, name: &str, version: &str, architecture: &str, fields: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{fields}\
         Maintainer: A <a@example.org>\nDescription: test\n"
    );
    fs::write(folder.path().join("DEBIAN/control"), control).unwrap();
    let file = pool.join(format!("{name}_{version}_{architecture}.deb"));
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .arg(folder.path())
        .arg(file)
        .env("SOURCE_DATE_EPOCH", "0"));
}

/// Puts a source package, without the revision of its version, into the pool.
pub fn source(pool: &Path, name: &str, version: &str) {
    let upstream = version.split('-').next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join(format!("{name}-{upstream}"));
    fs::create_dir_all(tree.join("debian/source")).unwrap();
    let write = |path: &str, text: &str| fs::write(tree.join(path), text).unwrap();
    write("debian/source/format", "3.0 (native)\n");
    write("debian/rules", "#!/usr/bin/make -f\n");
    write(
        "debian/changelog",
        &format!(
            "{name} ({upstream}) stable; urgency=low\n\n  * Test.\n\n \
             -- A <a@example.org>  Mon, 01 Jan 2024 00:00:00 +0000\n"
        ),
    );
    write(
        "debian/control",
        &format!(
            "Source: {name}\nMaintainer: A <a@example.org>\nStandards-Version: 4.6.2\n\
             Build-Depends: debhelper-compat (= 13),\n g++-beta <!nocheck>\n\
             Rules-Requires-Root: no\n\nPackage: {name}\nArchitecture: amd64\nDescription: test\n\n\
             Package: {name}-doc\nArchitecture: all\nBuild-Profiles: <!nodoc>\nDescription: test\n"
        ),
    );
    run(Command::new("dpkg-source").arg("--build").arg(&tree).current_dir(folder.path()));
    for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), pool.join(entry.file_name())).unwrap();
        }
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.env("SOURCE_DATE_EPOCH", "1704067200").output();
    let output = output.expect("apt-utils, dpkg-dev and xz-utils are installed");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {complaint}");
    output.stdout
}
