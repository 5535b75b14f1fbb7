//! Commits of real git repositories as sources.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod gnupg;
mod repository;
mod upstream;

use std::fs;
use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;

use perestroika::base::{Digest, HostPath, Tree, TreeKind};
use perestroika::fetch::git::{self, Named, Names, Revision, Snapshot};
use perestroika::fetch::{Client, Error, Network, Patience};
use perestroika::store::Store;
use repository::Repository;
use upstream::Server;

/// A store and a client.
struct Desk {
    keep: tempfile::TempDir,
    store: Store,
    client: Client,
}

impl Desk {
    fn new() -> Self {
        Self::on(Network::Online)
    }

    fn on(network: Network) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let store = Store::open(&HostPath::new(keep.path().join("store"))).unwrap();
        let client = Client::new(network, Patience { attempts: 1, ..Patience::default() });
        Self { keep, store, client }
    }

    fn snapshot(&self, url: &str, rev: &str) -> Result<Snapshot, Error> {
        self.pinned(url, rev, None)
    }

    fn pinned(&self, url: &str, rev: &str, commit: Option<&str>) -> Result<Snapshot, Error> {
        let revision = Revision { url, rev, commit };
        git::snapshot(&self.store, &self.client, &revision, &AtomicBool::new(false))
    }

    fn names(&self, url: &str) -> Result<Names, Error> {
        git::names(&self.store, &self.client, url, &AtomicBool::new(false))
    }

    fn history(&self, url: &str, rev: &str) -> git::History {
        let revision = Revision { url, rev, commit: None };
        git::history(&self.store, &self.client, &revision, &AtomicBool::new(false)).unwrap()
    }

    fn text(&self, tree: &Tree, path: &str) -> String {
        match &tree.get(path).unwrap().kind {
            TreeKind::File(digest) | TreeKind::Executable(digest) => {
                String::from_utf8(self.store.read(digest).unwrap()).unwrap()
            }
            TreeKind::Link(target) => panic!("{path} is a link to {target}"),
        }
    }

    /// What waits for nobody any more.
    fn left(&self) -> usize {
        fs::read_dir(self.keep.path().join("store/scratch")).unwrap().count()
    }
}

fn refusal(result: Result<Snapshot, Error>) -> String {
    result.expect_err("it must be refused").to_string()
}

#[test]
fn the_files_of_a_commit_are_a_tree_of_objects() {
    let (desk, code) = (Desk::new(), Repository::new());
    // What attributes and filters would make of files in a checkout does not count.
    code.write(".gitattributes", "*.txt text eol=crlf export-subst\nsecret export-ignore\n")
        .write("a.txt", "one\n$Format:%H$\n")
        .write("secret", "is there")
        .write("deep/er/b", "b")
        .executable("run", "#!/bin/sh\n")
        .link("link", "deep/er");
    let commit = code.commit("first");
    let snapshot = desk.snapshot(&code.url(), "main").unwrap();
    assert_eq!(snapshot.commit, commit);
    let date = code.git(&["show", "-s", "--format=%ct"]);
    assert_eq!(snapshot.date.to_string(), date);
    let tree = &snapshot.tree;
    let paths: Vec<&str> = tree.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, [".gitattributes", "a.txt", "deep/er/b", "link", "run", "secret"]);
    assert_eq!(desk.text(tree, "a.txt"), "one\n$Format:%H$\n");
    assert_eq!(tree.get("run").unwrap().kind, TreeKind::Executable(Digest::of(b"#!/bin/sh\n")));
    assert_eq!(tree.get("link").unwrap().kind, TreeKind::Link("deep/er".to_owned()));
    let document = desk.store.json(&tree.digest()).unwrap().unwrap();
    assert_eq!(Tree::from_json(&document).unwrap(), *tree);
}

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let (desk, code) = (Desk::new(), Repository::new());
    let first = code.write("a", "1").commit("first");
    code.git(&["tag", "v1"]);
    code.git(&["tag", "--annotate", "--message=x", "v1-annotated"]);
    let second = code.write("a", "2").commit("second");
    code.git(&["branch", "stable/kilo"]);
    // A tag comes before a branch of its name.
    code.git(&["branch", "v1"]);
    let url = code.url();
    for (rev, commit, named) in [
        ("main", &second, Named::Branch),
        ("stable/kilo", &second, Named::Branch),
        ("refs/heads/v1", &second, Named::Branch),
        ("v1", &first, Named::Tag),
        ("v1-annotated", &first, Named::Tag),
        (first.as_str(), &first, Named::Commit),
    ] {
        let snapshot = desk.snapshot(&url, rev).unwrap();
        assert_eq!((&snapshot.commit, snapshot.named), (commit, named), "{rev}");
    }
    let names = desk.names(&url).unwrap();
    assert_eq!(names.default.as_deref(), Some("main"));
    assert_eq!(names.branches, ["main", "stable/kilo", "v1"]);
    assert_eq!(names.tags, ["v1", "v1-annotated"]);
    let refused = refusal(desk.snapshot(&url, "stable/kil"));
    assert!(refused.ends_with("no such branch or tag; it has `stable/kilo`"), "{refused}");
    let gone = "0123456789012345678901234567890123456789";
    // What a spec names is a mistake of the spec; what was pinned is lost.
    let refused = refusal(desk.snapshot(&url, gone));
    assert!(refused.contains(gone) && refused.contains("no such commit"), "{refused}");
    let lost = desk.pinned(&url, "main", Some(gone));
    assert!(matches!(lost, Err(Error::Git { .. })), "{lost:?}");
    let refused = refusal(lost);
    assert!(refused.contains(gone) && refused.contains("another repository"), "{refused}");
}

#[test]
fn where_there_is_no_repository_or_nothing_in_it_is_told_apart_from_the_network() {
    let (desk, empty) = (Desk::new(), Repository::new());
    let url = empty.url();
    for (url, words) in [
        (url.clone(), "it is empty: no branch, no tag"),
        (format!("{url}-gone"), "does not appear to be a git repository"),
    ] {
        let error = desk.names(&url).expect_err("it must be refused");
        assert!(matches!(error, Error::Unfit { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let refused = refusal(desk.snapshot(&url, "main"));
    assert!(refused.ends_with("no such branch or tag; it is empty"), "{refused}");
    let unreachable = desk.names("git://127.0.0.1:1/code");
    assert!(matches!(unreachable, Err(Error::Git { .. })), "{unreachable:?}");
}

#[test]
fn a_pinned_commit_is_had_after_its_branch_has_moved_on() {
    let (desk, code) = (Desk::new(), Repository::new());
    let first = code.write("a", "1").commit("first");
    code.write("a", "2").commit("second");
    let snapshot = desk.pinned(&code.url(), "main", Some(&first)).unwrap();
    assert_eq!((snapshot.commit, desk.text(&snapshot.tree, "a")), (first.clone(), "1".to_owned()));
    // Also where the server gives no commits by name: it is below some branch.
    code.git(&["config", "uploadpack.allowAnySHA1InWant", "false"]);
    code.git(&["config", "protocol.version", "0"]);
    let snapshot = desk.pinned(&code.url(), "main", Some(&first)).unwrap();
    assert_eq!(snapshot.commit, first);
}

#[test]
fn history_is_the_newest_tag_and_what_came_since() {
    let (desk, code) = (Desk::new(), Repository::new());
    code.write("a", "1").commit("before all tags");
    assert_eq!(desk.history(&code.url(), "main").tag, "");
    assert_eq!(desk.history(&code.url(), "main").commits, 1);
    code.git(&["tag", "2014.2"]);
    code.write("a", "2").commit("towards kilo");
    code.git(&["tag", "2015.1.0rc1"]);
    code.git(&["tag", "kilo-start"]);
    code.git(&["checkout", "--quiet", "-b", "topic"]);
    code.write("b", "1").commit("on a topic");
    code.write("b", "2").commit("on a topic again");
    code.git(&["checkout", "--quiet", "main"]);
    code.write("a", "3").commit("on main");
    code.git(&["merge", "--quiet", "--no-ff", "--message=the topic", "topic"]);
    // Nobody comes here from main.
    code.git(&["checkout", "--quiet", "-b", "elsewhere"]);
    code.commit("another line");
    code.git(&["tag", "2016.1"]);
    code.git(&["checkout", "--quiet", "main"]);

    let history = desk.history(&code.url(), "main");
    assert_eq!(history.tag, "2015.1.0rc1");
    let counted = code.git(&["rev-list", "--no-merges", "--count", "2015.1.0rc1..main"]);
    assert_eq!((history.commits, counted.as_str()), (3, "3"));
    let subjects: Vec<&str> = history.log.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects[..2], ["the topic", "on main"]);
    assert_eq!(history.log[0].commit, code.git(&["rev-parse", "main"]));
    assert_eq!(history.log[0].author, "Ann Author <ann@example.org>");
    assert_eq!(history.log[0].date.to_string(), code.git(&["show", "-s", "--format=%ct", "main"]));

    // The release itself, on the same commit as its candidate.
    code.git(&["tag", "2015.1.0", "2015.1.0rc1"]);
    assert_eq!(desk.history(&code.url(), "main").tag, "2015.1.0");
    for number in 0..12 {
        code.commit(&format!("number {number}"));
    }
    let history = desk.history(&code.url(), "main");
    assert_eq!((history.log.len(), history.commits), (10, 15));
    assert_eq!(history.log[9].subject, "number 2");
    // The same from a server that leaves out the files.
    code.git(&["config", "uploadpack.allowFilter", "true"]);
    assert_eq!(desk.history(&code.url(), "main"), history);
}

#[test]
fn submodules_are_followed_to_their_pinned_commits() {
    let (desk, code, part, inner) =
        (Desk::new(), Repository::new(), Repository::new(), Repository::new());
    inner.write("deepest", "3").commit("inner");
    part.write("p", "2").commit("part");
    part.git(&["submodule", "--quiet", "add", &inner.url(), "in"]);
    part.commit("with another in it");
    code.write("c", "1");
    code.git(&["submodule", "--quiet", "add", &part.url(), "lib/part"]);
    code.commit("code");
    part.write("p", "moved on").commit("unseen");
    let tree = desk.snapshot(&code.url(), "main").unwrap().tree;
    assert_eq!(desk.text(&tree, "lib/part/p"), "2");
    assert_eq!(desk.text(&tree, "lib/part/in/deepest"), "3");

    code.write(".gitmodules", "[submodule \"x\"]\npath = lib/part\nurl = ext::id\n").commit("bad");
    let refused = refusal(desk.snapshot(&code.url(), "main"));
    assert!(refused.contains("submodule `lib/part`"), "{refused}");
    assert!(refused.contains("of a known protocol"), "{refused}");
    code.write(".gitmodules", "").commit("none");
    let refused = refusal(desk.snapshot(&code.url(), "main"));
    assert!(refused.contains("does not say where it comes from"), "{refused}");
}

#[test]
fn what_is_not_in_the_commit_is_refused_by_name() {
    let (desk, code) = (Desk::new(), Repository::new());
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 3\n";
    code.write("data/big.bin", pointer).commit("a pointer");
    let refused = refusal(desk.snapshot(&code.url(), "main"));
    assert!(refused.contains("`data/big.bin`: is a Git LFS pointer"), "{refused}");
    // A text that only speaks of pointers is one.
    code.write("data/big.bin", format!("so: {pointer}")).commit("text");
    desk.snapshot(&code.url(), "main").unwrap();

    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::OsStr::from_bytes(b"latin-\xe9");
    fs::write(code.path().join(name), "x").unwrap();
    code.commit("a name");
    let refused = refusal(desk.snapshot(&code.url(), "main"));
    assert!(refused.contains("its name is not UTF-8"), "{refused}");
}

#[test]
fn nothing_of_the_host_or_the_repository_decides_what_git_does() {
    let (desk, code) = (Desk::new(), Repository::new());
    code.write("a", "1").commit("first");
    let mark = desk.keep.path().join("mark");
    let hook = format!("#!/bin/sh\ntouch {}\n", mark.display());
    code.executable(".git/hooks/post-upload-pack", &hook);
    code.git(&["config", "core.fsmonitor", &format!("touch {}", mark.display())]);
    code.git(&["config", "uploadpack.packObjectsHook", &format!("touch {}", mark.display())]);
    for (name, rev) in [("--upload-pack=touch x", "main"), ("ext::touch x", "main")] {
        assert!(desk.snapshot(name, rev).is_err(), "{name}");
    }
    desk.snapshot(&code.url(), "main").unwrap();
    assert!(!mark.exists());
    assert!(desk.left() <= 1, "only the store's own folder for files on their way stays");
}

#[test]
fn damaged_objects_are_refused() {
    let (desk, code) = (Desk::new(), Repository::new());
    // A tree with an entry `..`, which git itself would not write.
    let blob = code.git(&["hash-object", "-w", "--stdin", "--literally"]);
    let mut raw = b"100644 ..\0".to_vec();
    raw.extend((0..20).map(|at| u8::from_str_radix(&blob[2 * at..2 * at + 2], 16).unwrap()));
    fs::write(code.path().join("raw"), raw).unwrap();
    let tree = code.git(&["hash-object", "-w", "--literally", "-t", "tree", "raw"]);
    let commit = code.git(&["commit-tree", &tree, "-m", "evil"]);
    code.git(&["update-ref", "refs/heads/evil", &commit]);
    let refused = refusal(desk.snapshot(&code.url(), "evil"));
    assert!(refused.contains("hasDotdot"), "{refused}");
}

#[test]
fn offline_nothing_is_asked() {
    let (desk, code) = (Desk::on(Network::Offline), Repository::new());
    code.write("a", "1").commit("first");
    let error = desk.snapshot(&code.url(), "main").expect_err("it is not there");
    assert!(matches!(error, Error::Offline(_)), "{error}");
    let cancelled = AtomicBool::new(true);
    let revision = Revision { url: &code.url(), rev: "main", commit: None };
    let online = Desk::new();
    let error = git::snapshot(&online.store, &online.client, &revision, &cancelled);
    assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
}

#[test]
fn a_plain_web_server_is_good_enough() {
    let (desk, code, server) = (Desk::new(), Repository::new(), Server::new());
    code.write("a", "1").commit("first");
    code.git(&["tag", "v1"]);
    let last = code.write("a", "2").commit("second");
    let copy = server.folder.path().join("code.git");
    let output = Command::new("git")
        .args(["clone", "--quiet", "--bare"])
        .arg(code.path())
        .arg(&copy)
        .output()
        .unwrap();
    assert!(output.status.success());
    let update = Command::new("git").arg("update-server-info").current_dir(&copy).status().unwrap();
    assert!(update.success());
    let url = format!("{}/code.git", server.url);
    let snapshot = desk.snapshot(&url, "main").unwrap();
    assert_eq!(snapshot.commit, last);
    assert_eq!(desk.text(&snapshot.tree, "a"), "2");
    let history = desk.history(&url, "main");
    assert_eq!((history.tag.as_str(), history.commits), ("v1", 1));
    let error = desk.snapshot(&format!("{}/none.git", server.url), "main").expect_err("no such");
    assert!(matches!(error, Error::Unfit { .. }), "{error}");
}

/// `git daemon`, as long as this lives.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_git_protocol_gives_one_commit_by_name() {
    let (desk, code) = (Desk::new(), Repository::new());
    let first = code.write("a", "1").commit("first");
    code.write("a", "2").commit("second");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The program itself: `git daemon` would start it, and leave it behind when it is ended.
    let folder = Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let program = format!("{}/git-daemon", String::from_utf8(folder).unwrap().trim());
    let daemon = Command::new(program)
        .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", code.path().display()))
        .arg(code.path())
        .spawn()
        .unwrap();
    let _daemon = Daemon(daemon);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    let url = format!("git://127.0.0.1:{port}/");
    assert_eq!(desk.pinned(&url, "main", Some(&first)).unwrap().commit, first);
}
