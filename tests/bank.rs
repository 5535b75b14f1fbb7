//! The snapshot bank as its clients meet it: stock apt, mmdebstrap and debootstrap, this program,
//! and strangers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod gnupg;
mod program;
mod serving;
mod upstream;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Desk;
use jiff::{SignedDuration, Timestamp};
use perestroika::base::{Digest, HostPath, Json, Sha256};
use perestroika::service::{Answer, Body, Limits, Request, Server, Status};
use perestroika::store::Store;
use program::{Release, Run, shared_store};
use serde_json::Value;
use serving::{Heard, Serving};
use upstream::{Archive, RELEASE};

/// `serve store` on a desk.
fn bank_over(desk: &Desk, words: &[&str]) -> Serving {
    let always = ["serve", "store", "--listen", "127.0.0.1:0", "--json"];
    Serving::of(desk.command(&[], &[&always, words].concat()))
}

/// A release that is pinned to a small archive, whose store holds all of it but `g++-beta`.
fn pinned(archive: &Archive, version: &str) -> Desk {
    let desk = Desk::new().with_flags(["--mirror", &format!("test={}", archive.server.url)]);
    let release = RELEASE.replace("version = \"1.0\"", &format!("version = \"{version}\""));
    desk.write("release.toml", release.replace("packages = []", "packages = [\"alpha\"]"));
    desk.write("keys/test.pgp", archive.keyring()).write("src/x", "x").write(
        "it.rhai",
        r#"package(#{ name: "it", version: "1", summary: "It", license: "MIT", date: "2024-01-01",
                      source: dir("src"), build: script("true") })"#,
    );
    desk.run(&["lock"]).succeeds();
    let store = Store::open(&HostPath::new(desk.store())).unwrap();
    for index in ["main/binary-amd64/Packages", "main/source/Sources"] {
        store.put(&unpacked(&index_path(archive, index))).unwrap();
    }
    for entry in fs::read_dir(archive.root().join("pool/main")).unwrap().map(Result::unwrap) {
        if !entry.file_name().to_string_lossy().starts_with("g++-beta") {
            store.put(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    desk
}

fn index_path(archive: &Archive, index: &str) -> PathBuf {
    archive.root().join("dists/stable").join(index)
}

/// The text of an index that is there compressed.
fn unpacked(index: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let file = fs::File::open(index.with_extension("xz")).unwrap();
    liblzma::read::XzDecoder::new(file).read_to_end(&mut text).unwrap();
    text
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let (text, ok) = tried(command);
    assert!(ok, "{command:?}:\n{text}");
    text
}

/// What a command says, and whether it succeeds.
fn tried(command: &mut Command) -> (String, bool) {
    let output = command.env("no_proxy", "127.0.0.1").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

/// apt with a configuration and a state of its own, a year later.
struct Apt(tempfile::TempDir);

impl Apt {
    fn with(sources: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["state/lists/partial", "cache/archives/partial", "here"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("bank.sources"), sources).unwrap();
        Self(folder)
    }

    fn tried(&self, words: &[&str]) -> (String, bool) {
        let folder = self.0.path().display();
        let mut command = Command::new("faketime");
        command.args(["-f", "+400d", "apt-get"]).args(words);
        for option in [
            format!("Dir::Etc::SourceList={folder}/bank.sources"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State={folder}/state"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            // As it is unless the host says otherwise.
            "Acquire::Check-Date=true".to_owned(),
            "Acquire::Check-Valid-Until=true".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        tried(command.current_dir(self.0.path().join("here")))
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> String {
        let (text, ok) = self.tried(words);
        assert!(ok, "{words:?}:\n{text}");
        text
    }

    fn got(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("here")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn stock_apt_takes_what_the_archive_signed_long_after_it_was_valid() {
    let archive = Archive::new();
    let week = Timestamp::now() + SignedDuration::from_hours(7 * 24);
    let until = week.strftime("Valid-Until: %a, %d %b %Y %H:%M:%S UTC\n").to_string();
    let indexes = ["main/binary-amd64/Packages", "main/source/Sources"]
        .map(|index| index_path(&archive, index));
    for index in &indexes {
        // So that they are listed; who has an archive hides them then.
        fs::write(index, unpacked(index)).unwrap();
    }
    archive.sign(Timestamp::now(), &until);
    for index in indexes {
        fs::remove_file(index).unwrap();
    }
    let desk = pinned(&archive, "1.0");
    // Upstream has moved on, and nothing of it is left there.
    archive.publish("2.0-1");
    let bank = bank_over(&desk, &[]);
    let listed = &bank.document["releases"][0]["archives"][0];
    assert_eq!(listed["packages"], serde_json::json!({ "listed": 3, "held": 2 }));
    assert_eq!(listed["sources"], serde_json::json!({ "listed": 2, "held": 2 }));
    assert_eq!(listed["suites"][0]["lacks"], serde_json::json!([]));

    let keyring = desk.path("keys/test.pgp");
    let keyring = keyring.to_str().unwrap();
    let page = bank.get("/");
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let sources = bank.get("/archive/test/test.sources").text().to_owned();
    let uri = format!("URIs: {}/archive/test\n", bank.url());
    for text in [page.text(), &sources] {
        assert!(text.contains(&uri) && text.contains("Check-Valid-Until: no\n"), "{text}");
    }
    let sources = sources.replace("/etc/apt/keyrings/test.gpg", keyring);

    let apt = Apt::with(&sources);
    apt.run(&["update"]);
    apt.run(&["download", "alpha", "alpha-doc"]);
    apt.run(&["source", "--download-only", "alpha"]);
    assert_eq!(
        apt.got(),
        ["alpha-doc_1.0-1_all.deb", "alpha_1.0-1_amd64.deb", "alpha_1.0.dsc", "alpha_1.0.tar.xz"]
    );
    let (text, ok) = apt.tried(&["download", "g++-beta"]);
    assert!(!ok && text.contains("404"), "{text}");
    let lacks = bank.get("/archive/test/pool/main/g%2b%2b-beta_1.0-1_amd64.deb");
    assert_eq!(lacks.status, 404);
    assert!(lacks.text().starts_with("the bank lacks g++-beta 1.0-1 amd64"), "{}", lacks.text());
    // What makes it work is said, and does it.
    let (text, ok) = Apt::with(&sources.replace("Check-Valid-Until: no\n", "")).tried(&["update"]);
    assert!(!ok && text.contains("expired"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let chroot = folder.path().join("mmdebstrap");
    run(Command::new("mmdebstrap")
        .args(["--variant=custom", "--mode=chrootless", "--include=alpha"])
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "--architectures=amd64"])
        .arg("--format=directory")
        .arg(format!("--keyring={keyring}"))
        .arg("stable")
        .arg(&chroot)
        .arg(format!("deb [signed-by={keyring}] {}/archive/test stable main", bank.url())));
    let status = fs::read_to_string(chroot.join("var/lib/dpkg/status")).unwrap();
    assert!(status.contains("Package: alpha\nStatus: install ok installed"), "{status}");

    let script = folder.path().join("script");
    let script_text = "mirror_style release\ndownload_style apt\nfinddebs_style from-indices\n\
                       work_out_debs () { required=\"alpha alpha-doc\"; base=\"\"; }\n";
    fs::write(&script, script_text).unwrap();
    let chroot = folder.path().join("debootstrap");
    run(Command::new("debootstrap")
        .args(["--download-only", "--arch=amd64", &format!("--keyring={keyring}"), "stable"])
        .arg(&chroot)
        .arg(format!("{}/archive/test", bank.url()))
        .arg(&script));
    for name in ["alpha_1.0-1_amd64.deb", "alpha-doc_1.0-1_all.deb"] {
        assert!(chroot.join("var/cache/apt/archives").join(name).is_file(), "{name}");
    }
    let list = bank.get("/release/demo-1.0/root/test");
    assert_eq!((list.status, list.text()), (200, "alpha=1.0-1\n"));
    assert_eq!(bank.get("/release/demo-1.0/root/other").status, 404);
    bank.end();
}

#[test]
fn a_release_is_built_elsewhere_with_nothing_but_a_bank() {
    let here = Release::copy_of("specs/single");
    let first = here.run("build", &["--json"]).ends_with(0).json();
    let mut command = Command::new(program::PROGRAM);
    command.args(["serve", "store", "--listen", "127.0.0.1:0", "--json"]);
    command.arg(here.path("")).arg("--store").arg(shared_store());
    let bank = Serving::of(command);

    let there = Release::copy_of("specs/single");
    let store = there.folder.path().join("store");
    let mirror = format!("bookworm={}/archive/bookworm", bank.url());
    let elsewhere = |command: &str| {
        let mut elsewhere = Command::new(program::PROGRAM);
        // Whatever is not the bank leads nowhere.
        elsewhere.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
        elsewhere.env("no_proxy", bank.address().split(':').next().unwrap());
        elsewhere.arg(command).arg(there.path("")).args(["--json", "--mirror", &mirror]);
        Run::of(elsewhere.arg("--store").arg(&store)).ends_with(0).json()
    };
    // Without the pins of the archive, which are the bank's.
    let lock = fs::read_to_string(there.path("release.lock")).unwrap();
    let (head, rest) = lock.split_once("[[archive").unwrap();
    let (_, tail) = rest.split_once("[stdlib]").unwrap();
    there.write("release.lock", &format!("{head}[stdlib]{tail}"));
    fs::remove_dir_all(there.path("release.lock.d/bookworm")).unwrap();
    elsewhere("lock");
    assert_eq!(fs::read_to_string(there.path("release.lock")).unwrap(), lock);
    let second = elsewhere("build");
    assert_eq!(first["release"]["id"], second["release"]["id"]);
    let names = |document: &Value| {
        let package = &document["packages"][0];
        let outputs = package["outputs"].as_array().unwrap().iter();
        let outputs: Vec<_> =
            outputs.map(|one| (one["file"].clone(), one["blake3"].clone())).collect();
        (package["derivation"].clone(), package["action"].clone(), outputs)
    };
    assert_eq!(names(&first), names(&second));
    // What was done, and what came of it, is there as evidence.
    let action = first["packages"][0]["action"].as_str().unwrap();
    let records: Value =
        serde_json::from_slice(&bank.get(&format!("/records/{action}")).body).unwrap();
    let adopted = records["adopted"].as_str().unwrap();
    assert!(records["records"].as_array().unwrap().contains(&records["adopted"]));
    let record = bank.get(&format!("/json/{adopted}")).body;
    assert_eq!(Digest::of(&record).to_string(), adopted);
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["action"], action);
    assert_eq!(Digest::of(&bank.get(&format!("/json/{action}.json")).body).to_string(), action);
    assert_eq!(bank.get(&format!("/records/{adopted}")).status, 404);
    assert_eq!(second["packages"][0]["status"], "built");
    bank.end();
}

#[test]
fn what_is_damaged_is_never_sent_and_everything_else_is_by_its_digest() {
    let desk = Desk::new();
    let store = Store::open(&HostPath::new(desk.store())).unwrap();
    let whole = store.put(&[b'a'; 1_000_000]).unwrap();
    let damaged = store.put(b"as it was").unwrap();
    let document = Json::String("a document".to_owned());
    let named = store.put_json(&document).unwrap();
    drop(store);
    let path = desk.store().join("objects").join(damaged.to_string());
    run(Command::new("chmod").arg("u+w").arg(&path));
    fs::write(&path, "as it is.").unwrap();
    let bank = bank_over(&desk, &[]);

    let object = bank.get(&format!("/objects/{whole}"));
    assert_eq!((object.status, Digest::of(&object.body)), (200, whole));
    let tag = format!("\"{whole}\"");
    assert_eq!(object.field("etag"), Some(&*tag));
    assert_eq!(object.field("content-length"), Some("1000000"));
    let sha256 = Sha256::of(&object.body);
    assert_eq!(bank.get(&format!("/by-hash/SHA256/{sha256}")).body, object.body);
    for path in [format!("/json/{named}"), format!("/json/{named}.json")] {
        let got = bank.get(&path);
        assert_eq!(
            (got.field("content-type"), &got.body),
            (Some("application/json"), &document.encode())
        );
    }

    let path = format!("/objects/{whole}");
    let head = bank.ask("HEAD", &path, "");
    assert_eq!(
        (head.status, head.field("content-length"), head.body.len()),
        (200, Some("1000000"), 0)
    );
    assert_eq!(bank.ask("GET", &path, &format!("If-None-Match: {tag}\r\n")).status, 304);
    let part = bank.ask("GET", &path, "Range: bytes=999990-\r\n");
    assert_eq!((part.status, part.body.len()), (206, 10));
    assert_eq!(part.field("content-range"), Some("bytes 999990-999999/1000000"));
    assert_eq!(bank.ask("GET", &path, "Range: bytes=1000000-\r\n").status, 416);
    let post = bank.ask("POST", &path, "Content-Length: 0\r\n");
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD")));

    for method in ["GET", "HEAD"] {
        let refused = bank.ask(method, &format!("/objects/{damaged}"), "");
        assert_eq!(refused.status, 404);
    }
    let aside = desk.store().join("quarantine");
    assert_eq!(fs::read_dir(aside).unwrap().count(), 1, "put aside, to be had anew");
    bank.end();
}

#[test]
fn nothing_is_reached_but_what_is_listed() {
    let archive = Archive::new();
    let desk = pinned(&archive, "1.0");
    desk.write("secret", "secret");
    fs::write(desk.store().join("secret"), "secret").unwrap();
    let bank = bank_over(&desk, &[]);
    assert_eq!(bank.get("/archive/test/dists/stable/InRelease").status, 200);
    for path in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/objects/../secret",
        "/objects/%2e%2e/secret",
        "/archive/test/../../release.toml",
        "/archive/test/dists/%2e%2e/%2e%2e/%2e%2e/secret",
        "/archive/test/pool/..%2f..%2fsecret",
        "/json/..%2frecords.sqlite",
        "//secret",
        "/etc/passwd",
        "/%00",
        "/archive/test/%",
        "/json/../version",
        "/./secret",
    ] {
        let got = bank.get(path);
        assert!(matches!(got.status, 400 | 404), "{path}: {}", got.status);
        assert!(!got.text().contains("secret\n") && !got.text().contains("root:"), "{path}");
    }
    for path in [
        "/records.sqlite",
        "/version",
        "/logs",
        "/locks/x",
        "/objects",
        "/objects/",
        "/objects/x",
        "/keys/test.pgp",
        "/release/demo-1.0/keys/test.pgp",
        "/release/demo-1.0/release.toml",
        "/archive/test/pool/",
        "/archive/test/dists/stable/Release",
        "/archive/other/x",
    ] {
        assert_eq!(bank.get(path).status, 404, "{path}");
    }
    // Names are looked up as they are, so capitals and half digests are other names.
    let in_release = Sha256::of(&archive.in_release()).to_string();
    assert_eq!(bank.get(&format!("/by-hash/SHA256/{}", &in_release[..63])).status, 404);

    // A stranger's name for the server is not written into the page.
    let host = "Host: <script>\r\nConnection: close\r\n";
    let page = Heard::from(bank.address(), &format!("GET / HTTP/1.1\r\n{host}\r\n"));
    assert!(page.status == 400 || !page.text().contains("<script>"));

    let huge = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(Heard::from(bank.address(), &huge).status, 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000));
    assert_eq!(Heard::from(bank.address(), &many).status, 431);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    assert!(matches!(Heard::from(bank.address(), &long).status, 400 | 414 | 431));
    assert_eq!(Heard::from(bank.address(), "nonsense\r\n\r\n").status, 400);
    assert_eq!(bank.get("/").status, 200, "and it goes on");
    bank.end();
}

#[test]
fn one_archive_at_two_states_is_served_for_each_release() {
    let archive = Archive::new();
    let old = pinned(&archive, "1.0");
    archive.publish("2.0-1");
    let new = pinned(&archive, "2.0");
    let other = |desk: &Desk| desk.path("").display().to_string();
    let bank = bank_over(&old, &[&other(&old), &other(&new)]);
    let ambiguous = bank.get("/archive/test/dists/stable/InRelease");
    assert_eq!(ambiguous.status, 404);
    assert!(ambiguous.text().contains("/release/demo-2.0/archive/test/"), "{}", ambiguous.text());
    let of =
        |title: &str| bank.get(&format!("/release/{title}/archive/test/dists/stable/InRelease"));
    assert_eq!(of("demo-2.0").body, archive.in_release());
    assert_ne!(of("demo-1.0").body, of("demo-2.0").body);
    assert_eq!(of("demo-3.0").status, 404);
    // The store is that of the first: the second's index is listed, and said not to be there.
    let lacks = &bank.document["releases"][1]["archives"][0]["suites"][0]["lacks"];
    assert_eq!(lacks.as_array().unwrap().len(), 2, "{lacks}");
    bank.end();

    let twice = ["serve", "store", "--listen", "127.0.0.1:0", &other(&old), &other(&old)];
    old.run(&twice).fails(3, &["two releases are called `demo-1.0`"]);
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let desk = Desk::new();
    desk.run(&["serve", "store", "--listen", "here"]).fails(2, &["127.0.0.1:8117"]);
    desk.run(&["serve", "store", "package"]).fails(2, &["release folders, not `package`"]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    desk.run(&["serve", "store", "--listen", &address])
        .fails(3, &["cannot listen on `127.0.0.1:", "--listen ADDRESS:PORT"]);
    let single = Desk::single();
    single.remove("release.lock");
    single
        .run(&["serve", "store", "--listen", "127.0.0.1:0"])
        .fails(2, &["has no release.lock", "perestroika lock"]);
}

/// A service in this process, until it is dropped.
struct Served {
    address: SocketAddr,
    cancel: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    /// Answers everything with a mebibyte.
    fn with(limits: Limits) -> Self {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (address, cancel) = (server.address(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&cancel);
        let answer = |request: &Request| match request.path.as_str() {
            "large" => Answer::found("x/y", "t", Body::Bytes(vec![0; 64 << 20])),
            "panic" => panic!("a fault of the service"),
            path => Answer::text(Status::Found, path),
        };
        let run = move || server.run(Arc::new(answer), Arc::new(|_, _| {}), limits, &stop).unwrap();
        Self { address, cancel, thread: Some(std::thread::spawn(run)) }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn slow_clients_are_let_go() {
    let stall = Duration::from_millis(200);
    let served = Served::with(Limits { stall, ..Limits::default() });
    let mut rest = Vec::new();
    // One that says nothing, one that never comes to an end, one that is content, and idle.
    for said in ["", "GET / HTTP/1.1\r\nX: ", "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = served.connect();
        stream.write_all(said.as_bytes()).unwrap();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "{said}: {ended:?}");
    }
    // One that asks for much and takes nothing: what is left of it never comes.
    let mut stream = served.connect();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut other = served.connect();
    other.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    other.read_to_end(&mut rest).unwrap();
    let mut second = served.connect();
    second.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    second.read_to_end(&mut rest).unwrap();
    rest.clear();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "{}", rest.len());
}

#[test]
fn connections_are_kept_and_counted() {
    let served = Served::with(Limits { connections: 1, ..Limits::default() });
    let mut first = served.connect();
    let said = |stream: &mut TcpStream, path: &str| {
        stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    // Several requests on one connection; a service that fails is no end of it.
    assert!(said(&mut first, "one").ends_with("one"));
    assert!(said(&mut first, "panic").starts_with("HTTP/1.1 500"));
    assert!(said(&mut first, "two").ends_with("two"));
    // There is one place, and it is taken.
    let mut second = served.connect();
    second.write_all(b"GET /three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0]).is_err());
    drop(first);
    second.set_read_timeout(None).unwrap();
    assert!(Heard::read(&mut second).text().ends_with("three"));
}
