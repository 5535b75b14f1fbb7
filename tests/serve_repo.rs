//! A repository as it is served: to real apt while generations are switched, to strangers, and to
//! people; and the same by nginx.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod gnupg;
mod program;
mod published;
mod serving;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::Desk;
use perestroika::base::{Digest, HostPath, Json, Sha256};
use perestroika::publish::Repository;
use perestroika::service::{Depot, Limits, Request, Server};
use perestroika::store::{NewAttempt, Store};
use program::Release;
use published::{Listed, Published, control, got, paragraph};
use serde_json::Value;
use serving::{Heard, Serving};

/// `serve repo` of a folder, on a desk.
fn serve(desk: &Desk, folder: &Path) -> Serving {
    let words = ["serve", "repo", folder.to_str().unwrap(), "--listen", "127.0.0.1:0", "--json"];
    Serving::of(desk.command(&[], &words))
}

/// apt with a configuration and a state of its own.
struct Apt(tempfile::TempDir);

impl Apt {
    fn with(sources: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["state/lists/partial", "cache/archives/partial", "etc/preferences.d", "here"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("etc/sources.list"), "").unwrap();
        fs::write(folder.path().join("state/status"), "").unwrap();
        fs::write(folder.path().join("etc/repository.sources"), sources).unwrap();
        Self(folder)
    }

    fn run(&self, words: &[&str]) -> (String, bool) {
        let folder = self.0.path().display();
        let mut command = Command::new("apt-get");
        command.args(words).current_dir(self.0.path().join("here"));
        for option in [
            format!("Dir::Etc={folder}/etc"),
            format!("Dir::Etc::SourceList={folder}/etc/repository.sources"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={folder}/state/status"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::GzipIndexes=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        let output = command.env("no_proxy", "127.0.0.1").env("LC_ALL", "C").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.success())
    }

    /// Runs it, and it has nothing to complain of.
    #[track_caller]
    fn is_content_with(&self, words: &[&str]) -> String {
        let (text, ok) = self.run(words);
        let complaint = text.lines().find(|line| {
            ["E:", "W:", "Err:"].iter().any(|start| line.starts_with(start))
                || line.contains("mismatch")
        });
        assert!(ok && complaint.is_none(), "{words:?}:\n{text}");
        text
    }

    /// The lists it has: the `InRelease`, and the package index of which it tells.
    fn lists(&self) -> (String, Vec<u8>) {
        let entries = fs::read_dir(self.0.path().join("state/lists")).unwrap();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        let ending = |end: &str| {
            let mut found = paths.iter().filter(|path| path.to_str().unwrap().ends_with(end));
            fs::read(found.next().unwrap()).unwrap()
        };
        (String::from_utf8(ending("_InRelease")).unwrap(), ending("_Packages"))
    }
}

/// A suite in apt's words, with the key as it lies in the repository.
fn sources(url: &str, published: &Published) -> String {
    let keyring = published.keyring();
    format!(
        "Types: deb\nURIs: {url}/\nSuites: stable\nComponents: main\nArchitectures: amd64\n\
         Signed-By: {}\n",
        keyring.display()
    )
}

/// So many generations of a suite of two packages, each with versions of its own; the first is
/// what clients read.
fn generations(published: &Published, count: u64) {
    for number in 1..=count {
        let version = format!("1.{number}");
        let packages = ["alpha", "beta"].map(|name| {
            let control = control(name, &version, "");
            paragraph(&control, &format!("pool/main/{name}_{version}_amd64.deb"), b"")
        });
        let listed = Listed { packages: packages.to_vec(), ..Listed::default() };
        published.stage(&[("stable", &listed)], Vec::new());
    }
    published.repository.switch(1).unwrap();
}

/// A repository that is served in this process, and switched to the next generation whenever
/// somebody has just been given an `InRelease`.
struct Switching {
    address: SocketAddr,
    live: Arc<AtomicU64>,
    cancel: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Switching {
    fn over(repository: Repository, last: u64) -> Self {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (address, cancel) = (server.address(), Arc::new(AtomicBool::new(false)));
        let (live, stop) = (Arc::new(AtomicU64::new(1)), Arc::clone(&cancel));
        let depot = Depot::new(repository.clone(), None, address.to_string());
        let answer = Arc::new(move |request: &Request| depot.answer(request));
        let (shared, one_at_a_time) = (Arc::clone(&live), Mutex::new(()));
        let hear = Arc::new(move |target: &str, _| {
            let _one = one_at_a_time.lock().unwrap();
            let next = shared.load(Ordering::SeqCst) + 1;
            if target.ends_with("/InRelease") && next <= last {
                repository.switch(next).unwrap();
                shared.store(next, Ordering::SeqCst);
            }
        });
        let run = move || server.run(answer, hear, Limits::default(), &stop).unwrap();
        Self { address, live, cancel, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Switching {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Lets `clients` apts update again and again until there were so many switches, each in the
/// middle of an update. Whatever one of them has afterwards is a whole generation.
fn hammer(clients: usize, switches: u64) -> u64 {
    let published = Published::new();
    generations(&published, switches + 1);
    let switching = Switching::over(published.repository.clone(), switches + 1);
    let sources = sources(&format!("http://{}", switching.address), &published);
    let updates = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let apt = Apt::with(&sources);
                let mut seen = 0;
                while seen <= switches {
                    seen = switching.live.load(Ordering::SeqCst);
                    apt.is_content_with(&["update"]);
                    let (in_release, index) = apt.lists();
                    let line = format!(" {} {} main/", Sha256::of(&index), index.len());
                    assert!(in_release.contains(&line), "{in_release} does not have {line}");
                    updates.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    updates.load(Ordering::SeqCst)
}

#[test]
fn apt_never_sees_a_mixture_while_generations_are_switched_under_it() {
    assert!(hammer(4, 30) >= 30);
}

#[test]
#[ignore = "takes minutes: the short one above runs always"]
fn apt_never_sees_a_mixture_in_two_hundred_switches() {
    let updates = hammer(8, 200);
    println!("{updates} updates by 8 clients over 200 switches, each in the middle of an update");
}

#[test]
fn apt_updates_and_downloads_as_the_first_page_says() {
    let (published, desk) = (Published::new(), Desk::new());
    let paragraph = published.package("greet", "1.0-1", "");
    let listed = Listed { packages: vec![paragraph], ..Listed::default() };
    published.publish(&[("stable", &listed)], vec![got("stable", "greet", None, "1.0-1")]);
    let serving = serve(&desk, published.root());
    assert_eq!(serving.document["generation"], 1);
    let suite = &serving.document["suites"][0];
    assert_eq!((&suite["name"], &suite["packages"]), (&"stable".into(), &1.into()));

    let said = serving.get("/sources/stable.sources").text().to_owned();
    let fingerprint: String = said.chars().filter(|letter| *letter != ' ').collect();
    assert!(fingerprint.contains(published.fingerprint()), "{said}");
    let key = serving.get("/keys/test.asc");
    assert_eq!(key.body, fs::read(published.keyring()).unwrap());
    let path = "/etc/apt/keyrings/test.asc";
    let apt = Apt::with(&said.replace(path, published.keyring().to_str().unwrap()));
    apt.is_content_with(&["update"]);
    assert!(apt.is_content_with(&["update"]).contains("Hit:1"));
    apt.is_content_with(&["download", "greet"]);
    let file = apt.0.path().join("here/greet_1.0-1_amd64.deb");
    let there = published.root().join("pool/main/g/greet/greet_1.0-1_amd64.deb");
    assert_eq!(fs::read(file).unwrap(), fs::read(there).unwrap());

    let page = serving.get("/");
    for part in ["stable", "test.asc", "Generation 1", "Signed-By: /etc/apt/keyrings/test.asc"] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    serving.end();
}

#[test]
fn conditions_never_hide_a_switch() {
    let (published, desk) = (Published::new(), Desk::new());
    let of = |version: &str| Listed {
        packages: vec![paragraph(&control("greet", version, ""), "pool/x", b"")],
        ..Listed::default()
    };
    published.publish(&[("stable", &of("1.0"))], Vec::new());
    let serving = serve(&desk, published.root());
    let field = |heard: &Heard, name: &str| heard.field(name).unwrap().to_owned();
    for name in ["InRelease", "Release", "Release.gpg", "main/binary-amd64/Packages"] {
        let path = format!("/dists/stable/{name}");
        let first = serving.get(&path);
        assert_eq!((first.status, field(&first, "cache-control").as_str()), (200, "no-cache"));
        let (tag, date) = (field(&first, "etag"), field(&first, "last-modified"));
        let tagged = format!("If-None-Match: {tag}\r\n");
        let dated = format!("If-Modified-Since: {date}\r\n");
        let later = "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n";
        assert_eq!(serving.ask("GET", &path, &tagged).status, 304);
        assert_eq!(serving.ask("GET", &path, &dated).status, 304);
        assert_eq!(serving.ask("GET", &path, later).status, 200, "another date is another file");

        let live = published.repository.live().unwrap().unwrap();
        published.publish(&[("stable", &of(&format!("2.{live}")))], Vec::new());
        for condition in [&tagged, &dated] {
            let next = serving.ask("GET", &path, condition);
            assert_eq!(next.status, 200, "{name} {condition}");
            assert_ne!(next.body, first.body);
        }
        // What was begun is not continued with something else.
        for known in [tag, date] {
            let condition = format!("Range: bytes=5-\r\nIf-Range: {known}\r\n");
            assert_eq!(serving.ask("GET", &path, &condition).status, 200, "{name} {condition}");
        }
    }
    let path = "/dists/stable/main/binary-amd64/Packages.xz";
    let index = serving.get(path);
    let digest = Sha256::of(&index.body);
    for folder in ["", "dists/stable/main/binary-amd64/", "generations/1/dists/stable/"] {
        let kept = serving.get(&format!("/{folder}by-hash/SHA256/{digest}"));
        assert_eq!((kept.status, &kept.body), (200, &index.body), "{folder}");
        assert!(field(&kept, "cache-control").contains("immutable"));
    }
    let part = serving.ask("GET", path, "Range: bytes=10-19\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &index.body[10..20]));
    let head = serving.ask("HEAD", path, "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(field(&head, "content-length"), index.body.len().to_string());
    // What was read before is there as long as it is kept.
    let before = serving.get("/generations/1/dists/stable/main/binary-amd64/Packages");
    assert!(before.text().contains("Version: 1.0\n"));
    serving.end();
}

#[test]
fn nothing_is_reached_but_what_is_public() {
    let (published, desk) = (Published::new(), Desk::new());
    let root = published.root();
    fs::create_dir_all(root.join("pool/main")).unwrap();
    fs::write(published.folder.path().join("secret"), "a secret").unwrap();
    fs::write(root.join(".perestroika/secret"), "a secret").unwrap();
    fs::write(root.join("secret"), "a secret").unwrap();
    fs::write(root.join("pool/main/.hidden"), "a secret").unwrap();
    fs::write(root.join("pool/main/large"), vec![b'x'; 1 << 20]).unwrap();
    symlink("../../../secret", root.join("pool/main/out")).unwrap();
    symlink("../../.perestroika/secret", root.join("pool/main/in")).unwrap();
    symlink("../../.perestroika", root.join("pool/main/folder")).unwrap();
    symlink("/etc/passwd", root.join("keys/passwd")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("pool/main/pipe")).status().unwrap().success());
    published.publish(&[("stable", &Listed::default())], Vec::new());
    let serving = serve(&desk, root);
    assert_eq!(serving.get("/pool/main/large").body.len(), 1 << 20);
    for path in [
        "/.perestroika/secret",
        "/.perestroika/format",
        "/%2eperestroika/format",
        "/pool/../.perestroika/secret",
        "/pool/%2e%2e/secret",
        "/dists/../../secret",
        "/dists/%2e%2e%2f%2e%2e%2fsecret",
        "/dists/stable/..%2f..%2f..%2f..%2fsecret",
        "/generations/1/dists/%2e%2e/%2e%2e/%2e%2e/.perestroika/secret",
        "/pool/main/out",
        "/pool/main/in",
        "/pool/main/folder/secret",
        "/pool/main/.hidden",
        "/pool/main/pipe",
        "/pool/main",
        "/pool/main/",
        "/keys/passwd",
        "/secret",
        "/by-hash/SHA256/../../secret",
        "/dists",
        "/dists/stable",
        "/browse/../secret",
        "/sources/../secret",
        "/browse/build/..%2f..%2fsecret",
    ] {
        let got = serving.get(path);
        assert!(matches!(got.status, 400 | 404), "{path}: {}", got.status);
        assert!(!got.text().contains("a secret") && !got.text().contains("root:"), "{path}");
    }
    assert_eq!(serving.get("/dists/stable/InRelease").status, 200, "and it goes on");
    serving.end();
}

#[test]
fn pages_tell_of_suites_packages_and_generations_and_run_nothing() {
    let (published, desk) = (Published::new(), Desk::new());
    let evil = "<script>alert(1)</script>";
    let fields = format!(
        "Depends: beta (>= 1), missing-{evil} | c\nHomepage: javascript:alert(1)\n\
         Description: {evil}\n \"><img src=x>\n .\n The end\n"
    );
    let mut packages = vec![published.package("alpha", "1.0", "Description: First letter\n")];
    packages.push(paragraph(&control("zeta", "2.0", &fields), "pool/main/z/zeta/z.deb", b"z"));
    for number in 0..250 {
        let control = control(&format!("beta{number:03}"), "1", "");
        packages.push(paragraph(&control, "pool/x", b""));
    }
    packages.push(paragraph(&control("beta", "1", ""), "pool/x", b""));
    let sources = vec![
        "Package: alpha\nBinary: alpha\nVersion: 1.0\nDirectory: pool/main/a/alpha\n\
         Checksums-Sha256:\n 00ff 12 alpha_1.0.dsc\n"
            .to_owned(),
    ];
    let mut listed = Listed { packages, sources };
    published.publish(&[("stable", &listed)], vec![got("stable", "alpha", None, "1.0")]);
    let serving = serve(&desk, published.root());
    let page = |path: &str| {
        let got = serving.get(path);
        assert_eq!(got.status, 200, "{path}");
        assert_eq!(got.field("content-type"), Some("text/html; charset=utf-8"));
        assert!(got.field("content-security-policy").unwrap().contains("default-src 'none'"));
        let text = got.text().to_owned();
        for bad in ["<script", "<img", "href=\"javascript", "<link"] {
            assert!(!text.contains(bad), "{bad} on {path}:\n{text}");
        }
        text
    };
    let holds = |path: &str, parts: &[&str]| {
        let text = page(path);
        for part in parts {
            assert!(text.contains(part), "{part} on {path}:\n{text}");
        }
        text
    };
    holds("/", &["Hand: packages", "stable", "generation/1"]);
    let first = holds("/browse/stable", &["253 packages", "First letter", "page 1 of 3"]);
    assert!(!first.contains(">zeta<"));
    holds("/browse/stable?page=3", &["page 3 of 3", ">zeta<"]);
    let found = holds("/browse/stable?q=first+LETTER", &["1 package of 253", ">alpha<"]);
    assert!(!found.contains(">beta<"));
    holds("/browse/stable?q=%3Cscript%3E", &["&lt;script&gt;", ">zeta<"]);
    let digest = Sha256::of(
        &fs::read(published.root().join("pool/main/a/alpha/alpha_1.0_amd64.deb")).unwrap(),
    );
    let alpha = holds(
        "/browse/stable/alpha",
        &["First letter", &digest.to_string(), "generation 1", "source", "alpha_1.0.dsc"],
    );
    let link = "/pool/main/a/alpha/alpha_1.0_amd64.deb";
    assert!(alpha.contains(&format!("href=\"{link}\"")));
    assert_eq!(Sha256::of(&serving.get(link).body), digest);
    holds("/browse/stable/zeta", &["/browse/stable/beta\"", "&lt;script&gt;", "The end"]);
    for none in ["/browse/stable/gamma", "/browse/other", "/browse/generation/2", "/browse/x/y/z"] {
        assert_eq!(serving.get(none).status, 404, "{none}");
    }

    // The next generation is on the pages as soon as it is what clients read.
    listed.packages[0] = published.package("alpha", "1.1", "Description: First letter\n");
    published.publish(&[("stable", &listed)], vec![got("stable", "alpha", Some("1.0"), "1.1")]);
    holds("/browse/stable/alpha", &["1.1", "generation 2", "after 1.0"]);
    holds("/browse/generations", &["Generation 2", "Generation 1", "1 change"]);
    holds("/browse/generation/2", &["1.0 → 1.1", "GENERATION.json"]);
    serving.end();
}

#[test]
fn a_package_leads_to_its_build_and_its_log() {
    let (published, desk) = (Published::new(), Desk::new());
    let store = Store::open(&HostPath::new(desk.store())).unwrap();
    let (built, secret) = (Build::of(&store, "greet"), Build::of(&store, "unpublished"));
    let fields = "Description: Greeter\n";
    let listed =
        Listed { packages: vec![published.package("greet", "1.0", fields)], ..Listed::default() };
    let mut change = got("stable", "greet", None, "1.0");
    change.derivation = Some(built.derivation.parse().unwrap());
    change.action = Some(built.action.parse().unwrap());
    published.publish(&[("stable", &listed)], vec![change]);
    let serving = serve(&desk, published.root());
    let base = format!("/browse/build/{}", built.action);
    let package = serving.get("/browse/stable/greet");
    for part in [&base, &built.derivation, &built.action] {
        assert!(package.text().contains(part.as_str()), "{part} in {}", package.text());
    }
    let page = serving.get(&base);
    for part in ["greet 1.0 amd64", "libc6", "line 9999", "end of &lt;log&gt;", "kernel"] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    assert!(!page.text().contains("line 10\n"), "the page has the end of it");
    let log = serving.get(&format!("{base}/log"));
    assert_eq!(log.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(Digest::of(&log.body).to_string(), built.log);
    for (name, digest) in [("record", &built.record), ("action", &built.action)] {
        let document = serving.get(&format!("{base}/{name}.json")).body;
        assert_eq!(Digest::of(&document).to_string(), *digest, "{name}");
    }
    let statement = serving.get(&format!("{base}/provenance.json"));
    let statement: Value = serde_json::from_slice(&statement.body).unwrap();
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let external = &statement["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!((&external["name"], &external["action"]), (&"greet".into(), &built.action.into()));
    // What the store has and the repository does not speak of is nobody's business.
    for path in ["", "/log", "/record.json"] {
        let path = format!("/browse/build/{}{path}", secret.action);
        assert_eq!(serving.get(&path).status, 404, "{path}");
    }
    assert_eq!(serving.get(&format!("{base}/other.json")).status, 404);
    serving.end();
}

#[test]
fn what_was_built_and_published_is_installed_and_explained() {
    let release = Release::copy_of("specs/single");
    let gnupg = gnupg::Gnupg::new();
    gnupg.key("repository", "ed25519", "sign,cert", "0");
    fs::write(release.path("keys/repository.pgp"), gnupg.export(&["repository"])).unwrap();
    let secret = release.folder.path().join("secret.pgp");
    let exported = gnupg.run(gnupg::MADE, &["--export-secret-keys", "repository"], b"");
    fs::write(&secret, exported).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&secret, mode).unwrap();
    let spec = fs::read_to_string(release.path("release.toml")).unwrap();
    let suite = "[publish.stable]\nformat = \"deb\"\nkey = \"keys/repository.pgp\"\n\
                 component = \"main\"\n";
    release.write("release.toml", &format!("{spec}\n{suite}"));
    release.run("build", &[]).ends_with(0);
    let secret = secret.to_str().unwrap();
    release.run("publish", &["--key-file", secret, "--rehearse", "none"]).ends_with(0);

    let mut command = Command::new(program::PROGRAM);
    command.args(["serve", "repo", "--listen", "127.0.0.1:0", "--json"]).arg(release.path(""));
    let serving = Serving::of({
        command.arg("--store").arg(program::shared_store());
        command
    });
    let sources = format!(
        "Types: deb deb-src\nURIs: {}/\nSuites: stable\nComponents: main\n\
         Architectures: amd64\nSigned-By: {}\n",
        serving.url(),
        release.path("keys/repository.pgp").display()
    );
    let apt = Apt::with(&sources);
    apt.is_content_with(&["update"]);
    apt.is_content_with(&["download", "hello"]);
    apt.is_content_with(&["source", "--download-only", "hello"]);
    let page = serving.get("/browse/stable/hello");
    let text = page.text();
    let build = text.split("href=\"").find(|rest| rest.starts_with("/browse/build/"));
    let build = build.unwrap_or_else(|| panic!("no build in {text}")).split('"').next().unwrap();
    let page = serving.get(build);
    for part in ["hello_", "SLSA provenance", "Build root", "Isolation"] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    assert!(serving.get(&format!("{build}/log")).text().contains("dpkg-buildpackage"));
    let index = "/dists/stable/main/binary-amd64/Packages";
    assert!(serving.get(index).text().contains("Package: hello\n"));
    // What nginx goes by is what this server says.
    let file = fs::metadata(release.path("repo/dists/stable/InRelease")).unwrap();
    let written = jiff::Timestamp::try_from(file.modified().unwrap()).unwrap();
    let written = written.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let said = serving.get("/dists/stable/InRelease");
    assert_eq!(said.field("last-modified"), Some(&*written));
    serving.end();
}

/// A build that a store remembers.
struct Build {
    derivation: String,
    action: String,
    record: String,
    log: String,
}

impl Build {
    fn of(store: &Store, name: &str) -> Self {
        store.make_builder_key().unwrap();
        let text = |text: &str| Json::String(text.to_owned());
        let listed = Json::object([
            ("name", text("libc6")),
            ("version", text("2.36")),
            ("architecture", text("amd64")),
            ("sha256", Json::text(Sha256::of(b"libc6"))),
        ]);
        let action = Json::object([
            ("name", text(name)),
            ("version", text("1.0")),
            ("architecture", text("amd64")),
            ("root", Json::Array(vec![Json::Array(vec![listed])])),
        ]);
        let action = store.put_json(&action).unwrap().to_string();
        let derivation = store.put_json(&Json::object([("name", text(name))])).unwrap();
        let new = NewAttempt {
            package: name.parse().unwrap(),
            derivation: derivation.to_string().parse().unwrap(),
            action: action.parse().unwrap(),
        };
        let (attempt, mut writer) = store.start_attempt(&new, 1 << 20).unwrap();
        for number in 0..10_000 {
            writer.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        writer.append(b"end of <log>\n").unwrap();
        let log = writer.finish().unwrap();
        let output = Json::object([
            ("file", text("greet_1.0_amd64.deb")),
            ("size", Json::Integer(5)),
            ("blake3", Json::text(Digest::of(b"greet"))),
            ("sha256", Json::text(Sha256::of(b"greet"))),
            ("control", text("Package: greet\n")),
        ]);
        let record = Json::object([
            ("format", text("perestroika/record/1")),
            ("action", text(&action)),
            ("derivation", Json::text(derivation)),
            ("outputs", Json::Array(vec![output])),
            ("layers", Json::Array(Vec::new())),
            ("log", Json::text(log.digest)),
            ("receipt", Json::object([("executor", text("native"))])),
            ("circumstances", Json::object([("kernel", text("6.1"))])),
            ("started", Json::Integer(1_700_000_000)),
            ("elapsed", Json::Integer(1234)),
            ("cause", text("new")),
        ]);
        let recorded = attempt.succeed(store.batch(), &record, &log).unwrap();
        Self {
            derivation: derivation.to_string(),
            action,
            record: recorded.digest.to_string(),
            log: log.digest.to_string(),
        }
    }
}

/// An nginx over one repository, in a folder of its own.
struct Nginx {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn with(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let user = if root { "user root;\n" } else { "" };
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|name| format!("{name}_temp_path {path}/{name};\n"));
        let configuration = format!(
            "{user}daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log stderr;\n\
             events {{}}\nhttp {{\naccess_log off;\n{}{server}}}\n",
            temporary.concat()
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let nginx = || {
            let mut nginx = Command::new("/usr/sbin/nginx");
            nginx.args(["-p", path.to_string().as_str(), "-e", "stderr", "-c"]).arg(&file);
            nginx
        };
        let judged = nginx().arg("-t").output().expect("nginx is installed (nginx-light)");
        let said = String::from_utf8_lossy(&judged.stderr).into_owned();
        assert!(judged.status.success() && !said.contains("[warn]"), "{said}");
        let child = nginx().stderr(Stdio::null()).spawn().unwrap();
        Self { child, _folder: folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_serves_the_same_with_what_is_printed() {
    let (published, desk) = (Published::new(), Desk::new());
    let packages = vec![published.package("greet", "1.0-1", "")];
    let listed = Listed { packages, ..Listed::default() };
    published.publish(&[("stable", &listed)], Vec::new());
    fs::write(published.root().join("secret"), "a secret").unwrap();
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let folder = published.root().to_str().unwrap();
    let printed = desk.run(&["serve", "repo", folder, "--nginx", "--listen", &address]).succeeds();
    let nginx = Nginx::with(&printed.out);
    // It listens when it answers: who connects before is refused.
    while std::net::TcpStream::connect(&address).is_err() {
        std::thread::yield_now();
    }
    let ask = |path: &str, fields: &str| {
        let fields = format!("Host: {address}\r\nConnection: close\r\n{fields}");
        Heard::from(&address, &format!("GET {path} HTTP/1.1\r\n{fields}\r\n"))
    };
    let serving = serve(&desk, published.root());
    let index = "/dists/stable/main/binary-amd64/Packages.xz";
    let digest = Sha256::of(&serving.get(index).body);
    let by_hash = format!("/dists/stable/main/binary-amd64/by-hash/SHA256/{digest}");
    for path in [
        "/dists/stable/InRelease",
        "/dists/stable/Release.gpg",
        index,
        &by_hash,
        &format!("/by-hash/SHA256/{digest}"),
        "/pool/main/g/greet/greet_1.0-1_amd64.deb",
        "/keys/test.asc",
        "/generations/1/dists/GENERATION.json",
    ] {
        let (theirs, ours) = (ask(path, ""), serving.get(path));
        assert_eq!((theirs.status, &theirs.body), (200, &ours.body), "{path}");
        assert_eq!(theirs.field("cache-control"), ours.field("cache-control"), "{path}");
    }
    for path in ["/.perestroika/format", "/secret", "/", "/pool/", "/dists/", "/pool/../secret"] {
        assert!(matches!(ask(path, "").status, 403 | 404), "{path}");
    }
    let release = "/dists/stable/InRelease";
    let date = ask(release, "").field("last-modified").unwrap().to_owned();
    assert_eq!(serving.get(release).field("last-modified"), Some(&*date), "the very same date");
    let known = format!("If-Modified-Since: {date}\r\n");
    assert_eq!(ask(release, &known).status, 304);

    let apt = Apt::with(&sources(&format!("http://{address}"), &published));
    apt.is_content_with(&["update"]);
    apt.is_content_with(&["download", "greet"]);
    let next = Listed { packages: vec![published.package("greet", "1.1-1", "")], ..listed };
    published.publish(&[("stable", &next)], Vec::new());
    assert_eq!(ask(release, &known).status, 200, "a switch is seen at once");
    apt.is_content_with(&["update"]);
    apt.is_content_with(&["download", "greet=1.1-1"]);
    drop(nginx);
    serving.end();
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let desk = Desk::new();
    let repo = |words: &[&str]| desk.run(&[&["serve", "repo"], words].concat());
    repo(&["--listen", "here"]).fails(2, &["127.0.0.1:8117"]);
    repo(&["nowhere"]).fails(2, &["there is no repository in", "perestroika publish"]);
    repo(&[]).fails(2, &["no release.toml here"]);
    desk.write("release.toml", "");
    repo(&[]).fails(2, &["release/repo`", "perestroika publish"]);
    repo(&["."]).fails(2, &["release/repo`", "perestroika publish"]);
    desk.write("repo/.perestroika/format", "another\n");
    repo(&[]).fails(3, &["has the layout `another`"]);
    desk.write("odd$/.perestroika/format", "perestroika/repository/1\n");
    repo(&["odd$", "--nginx"]).fails(2, &["nginx takes no path with `$`"]);
    // One that was never published to is served, and says so.
    desk.write("repo/.perestroika/format", "perestroika/repository/1\n");
    let serving = serve(&desk, &desk.path("."));
    assert_eq!(serving.document["generation"], Value::Null);
    assert!(serving.get("/").text().contains("Nothing was published"));
    assert_eq!(serving.get("/dists/stable/InRelease").status, 404);
    serving.end();
}
