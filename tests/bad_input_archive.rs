//! Archives and mirrors that are wrong, hostile, or not there: what each says, that nothing of
//! it gets into the store, and that the next good command works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod debs;
mod gnupg;
mod upstream;

use std::fs;
use std::net::TcpListener;

use common::{Desk, Ran};
use upstream::{Archive, Behaviour, RELEASE};

const PACKAGES: &str = "main/binary-amd64/Packages";
const SOURCES: &str = "main/source/Sources";

/// A newer `alpha` than the archive's own.
const ALPHA: &str = "Package: alpha\nVersion: 9\nArchitecture: amd64\n\
                     Maintainer: A <a@example.org>\nDescription: test\n";

/// An archive, and a release over it that rebuilds its source `alpha`. The archive's packages
/// are empty, so no build gets further than its root; everything up to there is real.
struct Scene {
    archive: Archive,
    desk: Desk,
}

/// What the build root of [`Scene`] comes to when nothing is wrong: its packages are empty, so
/// there is nothing in it to configure them with.
const ROOT_IS_EMPTY: &str = "cannot run `/bin/sh` in the guest";

impl Scene {
    fn new() -> Self {
        let archive = Archive::new();
        let pool = archive.root().join("pool/main");
        let needed = "Provides: debhelper-compat (= 13)\n";
        upstream::binary(&pool, "debhelper", "13", "all", needed);
        archive.index();
        let mirror = format!("--mirror=test={}", archive.server.url);
        let desk = Desk::new().with_flags([mirror]);
        desk.write("release.toml", RELEASE.replace("packages = []", "packages = [\"alpha\"]"))
            .write("alpha.rhai", "rebuild(\"alpha\")");
        desk.write("keys/test.pgp", archive.keyring());
        Self { archive, desk }
    }

    fn locked() -> Self {
        let scene = Self::new();
        scene.desk.run(&["lock"]).succeeds();
        scene
    }

    /// Where the server has the compressed index.
    fn index(&self, path: &str) -> String {
        self.archive.by_hash(&format!("{path}.xz"))
    }

    /// The same release with a store that has nothing yet.
    fn with_new_store(self) -> Self {
        let store = self.desk.path("../another-store");
        Self { desk: self.desk.with_store(store), ..self }
    }

    /// The root of a good build is reached: everything was fetched, and is what was pinned.
    #[track_caller]
    fn is_good_again(&self) {
        self.archive.server.heal();
        let ran = self.desk.run(&["build"]);
        assert!(ran.err.contains(ROOT_IS_EMPTY), "{}", ran.err);
        assert!(!ran.err.contains("http"), "no word of the mirror: {}", ran.err);
        self.desk.store_is_intact();
    }
}

#[test]
fn a_tampered_index_is_refused() {
    let scene = Scene::locked().with_new_store();
    let path = scene.index(PACKAGES);
    let good = fs::read(scene.archive.root().join(&path)).unwrap();
    let mut other = good.clone();
    other[40] ^= 1;
    let digest = path.rsplit('/').next().unwrap();
    for (tampered, words) in [
        (other, ["is not the file that was asked for", "expected ", "actual ", digest]),
        (good[..40].to_vec(), ["is not the file that was asked for", "(40 bytes)", &path, digest]),
        ([good, vec![0; 9]].concat(), ["is larger than the", "bytes it may have", &path, digest]),
    ] {
        scene.archive.server.behave(&path, Behaviour::Replace(tampered));
        scene.desk.run(&["build"]).fails(3, &words).built_nothing();
        assert_eq!(scene.desk.store_is_intact().objects(), 0);
    }
    let json = scene.desk.run(&["build", "--json"]).fails(3, &[]).json();
    assert_eq!(json["packages"][0]["status"], "failed");
    assert!(json["errors"][0]["message"].as_str().unwrap().contains("larger than"), "{json}");
    scene.is_good_again();
}

#[test]
fn a_tampered_index_is_refused_when_it_is_pinned() {
    let scene = Scene::new();
    let path = scene.index(SOURCES);
    scene.archive.server.behave(&path, Behaviour::Replace(b"other".to_vec()));
    let words = ["is not the file that was asked for", "expected ", "actual ", &path];
    scene.desk.run(&["lock"]).fails(3, &words);
    assert!(!scene.desk.path("release.lock").exists());
    assert!(!scene.desk.path("release.lock.d").exists());
    scene.archive.server.heal();
    scene.desk.run(&["lock"]).succeeds();
    scene.is_good_again();
}

#[test]
fn a_tampered_package_is_refused() {
    let scene = Scene::locked();
    let path = "pool/main/debhelper_13_all.deb";
    let good = fs::read(scene.archive.root().join(path)).unwrap();
    let mut other = good.clone();
    other[90] ^= 1;
    scene.archive.server.behave(path, Behaviour::Replace(other));
    let words = ["failed    alpha 1.0", path, "is not the file that was asked for", "expected "];
    scene.desk.run(&["build"]).fails(3, &words).built_nothing();
    scene.archive.server.behave(path, Behaviour::Truncate);
    let words = ["failed    alpha 1.0", "cannot fetch", path, "(4 attempts)"];
    scene.desk.run(&["build"]).fails(3, &words);
    scene.archive.server.behave(path, Behaviour::Endless);
    scene.desk.run(&["build"]).fails(3, &[path, "is larger than the"]);
    scene.is_good_again();
}

#[test]
fn a_tampered_source_is_refused_before_a_root_is_made() {
    for (path, other) in [
        ("pool/main/alpha_1.0.dsc", b"Format: 3.0 (native)\n".to_vec()),
        ("pool/main/alpha_1.0.tar.xz", b"no tar".to_vec()),
    ] {
        let scene = Scene::locked();
        scene.archive.server.behave(path, Behaviour::Replace(other));
        let words =
            ["failed    alpha 1.0", path, "is not the file that was asked for", "expected "];
        let ran = scene.desk.run(&["build"]).fails(3, &words).built_nothing();
        assert!(!ran.err.contains("build root"), "{}", ran.err);
        scene.is_good_again();
    }
}

#[test]
fn a_signature_by_an_unknown_key_is_refused() {
    let scene = Scene::new();
    let stranger = gnupg::Gnupg::new();
    stranger.key("stranger", "ed25519", "sign,cert", "0");
    scene.desk.write("keys/test.pgp", stranger.export(&["stranger"]));
    let words = [
        "suite `stable` of archive `test` is not signed by a key of `keys/test.pgp`",
        "not in the keyring",
    ];
    scene.desk.run(&["lock"]).fails(1, &words);
    let json = scene.desk.run(&["lock", "--json"]).fails(1, &[]).json();
    assert_eq!(json["errors"][0]["code"], "signature");
    assert!(!scene.desk.path("release.lock").exists());

    scene.desk.write("keys/test.pgp", "no keys at all");
    scene.desk.run(&["lock"]).fails(2, &["release.toml:", "it holds no key that can be read"]);

    scene.desk.write("keys/test.pgp", scene.archive.keyring());
    let signed = String::from_utf8(scene.archive.in_release()).unwrap();
    let tampered = signed.replacen("Codename: test", "Codename: tset", 1);
    let serve = |text: &str| {
        let replaced = Behaviour::Replace(text.as_bytes().to_vec());
        scene.archive.server.behave("dists/stable/InRelease", replaced);
    };
    serve(&tampered);
    scene
        .desk
        .run(&["lock"])
        .fails(1, &["keys/test.pgp", "the text was changed, or the signature is forged"]);
    serve("Suite: stable\n");
    scene.desk.run(&["lock"]).fails(1, &["keys/test.pgp", "not signed"]);
    scene.archive.server.heal();
    scene.desk.run(&["lock"]).succeeds();
    scene.is_good_again();
}

#[test]
fn a_mirror_that_cannot_be_reached_is_named() {
    let scene = Scene::locked().with_new_store();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("test=http://{port}/debian");
    let Scene { archive, desk } = scene;
    let desk = desk.with_flags(["--mirror", &nobody]);
    let words = ["cannot fetch `http://127.0.0.1:", "(4 attempts)", "because: ", "refused"];
    let ran = desk.run(&["build"]).fails(3, &words).built_nothing();
    assert!(!ran.err.contains("because: because"), "{}", ran.err);
    desk.run(&["update"]).fails(3, &words);
    let desk = desk.with_flags(["--offline"]);
    let words = ["dists/stable/main/binary-amd64/Packages", "not in the store", "`--offline`"];
    desk.run(&["build"]).fails(3, &words).built_nothing();
    let desk = desk.with_flags([format!("--mirror=test={}", archive.server.url)]);
    Scene { archive, desk }.is_good_again();
}

#[test]
fn no_mirror_at_all_lists_the_five_ways_to_name_one() {
    let Scene { archive, desk } = Scene::locked().with_new_store();
    let desk = desk.with_flags([""; 0]);
    // A host without apt.
    let no_apt = ["unshare", "-rm", "sh", "-ec", "mount -t tmpfs none /etc/apt; exec \"$@\"", "sh"];
    let words = [
        "no mirror of archive `test` is known",
        "`--mirror test=URL`",
        "`PERESTROIKA_MIRROR_TEST`",
        "`mirrors = [\"URL\"]` in `[archive.test]` of release.toml",
        ".config/perestroika/config.toml",
        "the host's own apt sources",
    ];
    desk.run_as(&no_apt, &["build"]).fails(3, &words).built_nothing();
    desk.run_as(&no_apt, &["update"]).fails(3, &words);
    let lines = format!("mirrors = [\"{}\"]\nkeyring", archive.server.url);
    desk.replace("release.toml", "keyring", &lines);
    Scene { archive, desk }.is_good_again();
}

#[test]
fn an_index_that_has_moved_on_says_where_the_pinned_one_could_come_from() {
    let scene = Scene::locked().with_new_store();
    let old = scene.archive.root().join(scene.index(PACKAGES));
    scene.archive.publish("2.0-1");
    let kept = fs::read(&old).unwrap();
    fs::remove_file(&old).unwrap();
    let lock = scene.desk.read("release.lock");
    let pinned = lock.split(PACKAGES).nth(1).unwrap().split('"').find(|word| word.len() == 64);
    let words = [
        "index `main/binary-amd64/Packages` of suite `stable` has moved on at http://127.0.0.1:",
        pinned.unwrap(),
        "from a store or bundle that has it, or from a mirror that keeps",
        "`perestroika update` pins the present one",
    ];
    scene.desk.run(&["build"]).fails(3, &words).built_nothing();
    assert_eq!(scene.desk.store_is_intact().objects(), 0);
    // Its index is back, but not its packages.
    fs::write(&old, kept).unwrap();
    let words = [
        "failed    alpha 1.0",
        "pool/main/",
        "is missing at `http://127.0.0.1:",
        "it can come from a store or bundle that has it, or from another mirror",
        "SHA-256",
    ];
    scene.desk.run(&["build"]).fails(3, &words).built_nothing();
    scene.desk.store_is_intact();
    scene.archive.publish("1.0-1");
    upstream::binary(
        &scene.archive.root().join("pool/main"),
        "debhelper",
        "13",
        "all",
        "Provides: debhelper-compat (= 13)\n",
    );
    scene.is_good_again();
}

#[test]
fn an_unknown_build_dependency_is_shown_with_the_nearest_name() {
    let scene = Scene::locked();
    let spec = "rebuild(\"alpha\").add(#{ build_depends: [\"alpa-doc (>= 1)\"] })";
    scene.desk.write("alpha.rhai", spec);
    let words = ["unknown build dependency `alpa-doc`", "alpha.rhai:1:42", "`alpha-doc`"];
    for command in ["eval", "build"] {
        scene.desk.run(&[command]).fails(2, &words).built_nothing();
    }
    scene.desk.write("alpha.rhai", spec.replace("(>= 1)", "(>= 99)").replace("alpa", "alpha"));
    let words = ["no build root satisfies its build dependencies", "alpha-doc", "99"];
    scene.desk.run(&["build"]).fails(2, &words).built_nothing();
    scene.desk.write("alpha.rhai", "rebuild(\"alpha\")");
    scene.is_good_again();
}

#[test]
fn evidence_that_was_changed_is_refused() {
    let scene = Scene::locked().with_new_store();
    let path = "release.lock.d/test/stable.InRelease";
    let good = scene.desk.read(path);
    scene.desk.write(path, good.replacen("Codename", "codename", 1));
    let words = [path, "is not the file that was pinned", "expected ", "actual "];
    scene.desk.run(&["build"]).fails(2, &words).built_nothing();
    scene.desk.run(&["lock", "--check"]).fails(1, &[path]);
    scene.desk.write(path, good);
    scene.is_good_again();
}

/// Members that would leave the root: refused by name, and nothing of them is there.
#[test]
fn a_package_that_climbs_out_of_its_root_is_refused() {
    let escape = tempfile::tempdir().unwrap();
    let outside = escape.path().join("x").display().to_string();
    let up = format!("../../../../../../../../../..{outside}");
    let inside = |name: &str| debs::file(name);
    let cases = [
        (vec![inside("../../etc/x")], "member `../../etc/x` leaves the package through `..`"),
        (vec![inside(&up)], "leaves the package through `..`"),
        (vec![inside(&outside)], "has an absolute path"),
        (
            vec![debs::link("./out", escape.path().to_str().unwrap()), inside("./out/x")],
            "member `out/x` lies behind `out`",
        ),
        (
            vec![debs::link("./out", "../../../../.."), inside("./x")],
            "link `out` points above the root",
        ),
        (vec![debs::hard("./x", "/etc/passwd")], "`/etc/passwd`"),
    ];
    for (members, word) in cases {
        let scene = Scene::new();
        let file = scene.archive.root().join("pool/main/alpha_9_amd64.deb");
        fs::write(&file, debs::deb(ALPHA, &members)).unwrap();
        scene.archive.index();
        scene.desk.run(&["lock"]).succeeds();
        let words = ["failed    alpha 1.0", "package `alpha", "cannot be unpacked", word];
        scene.desk.run(&["build"]).fails(3, &words).built_nothing();
        assert_eq!(fs::read_dir(escape.path()).unwrap().count(), 0, "{word}");
        scene.desk.store_is_intact();
        fs::remove_file(&file).unwrap();
        scene.archive.index();
        scene.desk.run(&["update"]).succeeds();
        scene.is_good_again();
    }
}

/// A mount over the store, in a namespace of its own, before the program starts.
fn over_store<'a>(desk: &'a Desk, mount: &'a str) -> Vec<&'a str> {
    let store = desk.store().to_str().unwrap();
    vec!["unshare", "-rm", "sh", "-ec", mount, store]
}

#[test]
fn a_store_without_room_is_named_and_stays_whole() {
    let scene = Scene::new();
    let much = debs::member("./much", b'0', "", &[b'x'; 400_000]);
    let file = scene.archive.root().join("pool/main/alpha_9_amd64.deb");
    fs::write(&file, debs::deb(ALPHA, &[much])).unwrap();
    scene.archive.index();
    scene.desk.run(&["lock"]).succeeds();
    let store = scene.desk.store().to_str().unwrap();
    let mount = "mount -t tmpfs -o size=256k tmpfs $0; exec \"$@\"";
    let words = ["no space left to", store, "`--store DIR`"];
    scene.desk.run_as(&over_store(&scene.desk, mount), &["build"]).fails(3, &words);
    let mount = mount.replace("256k", "64k");
    for command in ["build", "update", "status"] {
        scene.desk.run_as(&over_store(&scene.desk, &mount), &[command]).fails(3, &words);
    }
    // Programs are told that it was the store, and not the network.
    for room in ["64k", "96k", "128k", "192k"] {
        let mount = mount.replace("64k", room);
        let words = ["update", "alpha", "--json"];
        let ran = scene.desk.run_as(&over_store(&scene.desk, &mount), &words);
        if ran.code == Some(3) || room == "64k" {
            assert_eq!(ran.json()["errors"][0]["code"], "store", "{room}: {}", ran.out);
        }
    }
    fs::remove_file(file).unwrap();
    scene.archive.index();
    scene.desk.run(&["update"]).succeeds();
    scene.is_good_again();
}

#[test]
fn a_store_that_takes_no_writes_is_named() {
    let scene = Scene::locked();
    let store = scene.desk.store().to_str().unwrap();
    let mount = "mount --bind $0 $0; mount -o remount,bind,ro $0; exec \"$@\"";
    let words = ["it is read-only", store, "`--store DIR`"];
    for command in ["build", "update", "lock"] {
        scene.desk.run_as(&over_store(&scene.desk, mount), &[command]).fails(3, &words);
    }
    // Looking needs no writes.
    scene.desk.run_as(&over_store(&scene.desk, mount), &["eval"]).succeeds();
    let status = scene.desk.run_as(&over_store(&scene.desk, mount), &["status"]);
    assert!(status.out.contains("never built"), "{}{}", status.out, status.err);
    let looks: [(&[&str], &str); 5] = [
        (&["log"], "nothing of this release was built yet"),
        (&["why"], "was not built with this store yet"),
        (&["root", "list"], "root test"),
        (&["root", "show", "test"], "root test"),
        (&["store", "usage"], store),
    ];
    for (command, words) in looks {
        let ran = scene.desk.run_as(&over_store(&scene.desk, mount), command).succeeds();
        assert!(ran.out.contains(words), "{command:?}: {}", ran.out);
    }
    scene.is_good_again();
}

#[test]
fn a_store_that_is_none_is_left_alone() {
    let mut scene = Scene::locked();
    let keep = tempfile::tempdir().unwrap();
    let path = keep.path().join("store");
    let mut check = |words: &[&str]| {
        scene.desk = std::mem::replace(&mut scene.desk, Desk::new()).with_store(&path);
        let before = listing(keep.path());
        scene.desk.run(&["build"]).fails(3, words).built_nothing();
        assert_eq!(listing(keep.path()), before);
    };
    fs::write(&path, "a file").unwrap();
    check(&["store` is no folder", "`--store DIR`"]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letters"), "mine").unwrap();
    check(&["is no store and not empty (it holds `letters`)", "`--store DIR`"]);
    fs::remove_file(path.join("letters")).unwrap();
    fs::write(path.join("version"), "perestroika/store/99\n").unwrap();
    check(&["has layout `perestroika/store/99`", "`--store DIR`"]);
    fs::remove_file(path.join("version")).unwrap();
    scene.is_good_again();
}

fn listing(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries.collect();
    all.extend(all.clone().iter().filter(|path| path.is_dir()).flat_map(|path| listing(path)));
    all.sort();
    all
}

impl Ran {
    /// No package came of it.
    #[track_caller]
    fn built_nothing(self) -> Self {
        assert!(!self.out.contains("  built  "), "{}", self.out);
        self
    }
}
