use proptest::prelude::*;

use super::*;
use crate::base::Format;

fn sha256() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256::from_bytes)
}

fn name() -> impl Strategy<Value = PackageName> {
    "[a-z0-9][a-z0-9+.-]{1,8}".prop_map(|name| name.parse().expect("of that form"))
}

/// Text as a hostile index may hold it: quotes, backslashes, control characters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", any::<String>(), "[\"'\\\\\\n\\r\\t\\x00\\x7f#=\\[\\]]{0,9}"]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9_+~-]{1,6}", 1..4).prop_map(|parts| parts.join("/"))
}

fn index() -> impl Strategy<Value = LockedIndex> {
    let kind = prop_oneof![
        Just(IndexKind::Sources),
        "[a-z0-9]{1,6}".prop_map(|name| IndexKind::Packages(name.parse().expect("of that form"))),
    ];
    (path(), kind, sha256(), any::<u64>()).prop_map(|(path, kind, sha256, size)| LockedIndex {
        path,
        kind,
        sha256,
        size,
    })
}

fn archive() -> impl Strategy<Value = LockedArchive> {
    let suite = ("[a-z][a-z-]{0,8}", text(), sha256(), prop::collection::vec(index(), 0..3))
        .prop_map(|(suite, date, release, indexes)| LockedSuite { suite, date, release, indexes });
    prop::collection::vec(suite, 0..3).prop_map(|suites| LockedArchive { suites })
}

fn source() -> impl Strategy<Value = LockedSource> {
    let file = ("[a-z0-9_.+~-]{1,9}x", any::<u64>(), sha256())
        .prop_map(|(name, size, sha256)| LockedFile { name, size, sha256 });
    let binary =
        (name(), text(), text(), text()).prop_map(|(name, architecture, profiles, provides)| {
            LockedBinary { name, architecture, profiles, provides }
        });
    let relations = prop::collection::btree_map(
        prop::sample::select(RELATIONS.to_vec()).prop_map(str::to_owned),
        text(),
        0..4,
    );
    let lists = (prop::collection::vec(file, 0..3), prop::collection::vec(binary, 0..3));
    (text(), path(), lists, relations, prop::option::of(text())).prop_map(
        |(version, directory, (files, binaries), relations, requires_root)| LockedSource {
            version,
            directory,
            files,
            binaries,
            relations,
            requires_root,
        },
    )
}

/// A moment as locks have it.
fn date() -> impl Strategy<Value = String> {
    (0i64..4_000_000_000)
        .prop_map(|second| jiff::Timestamp::from_second(second).expect("in range").to_string())
}

fn packaging() -> impl Strategy<Value = LockedPackaging> {
    source().prop_flat_map(|LockedSource { binaries, relations, .. }| {
        (name(), text(), date()).prop_map(move |(source, version, date)| LockedPackaging {
            source,
            version,
            date,
            binaries: binaries.clone(),
            relations: relations.clone(),
        })
    })
}

fn git() -> impl Strategy<Value = Arc<LockedGit>> {
    let commit = || "[0-9a-f]{40}";
    let entry = (commit(), date(), text(), text())
        .prop_map(|(commit, date, author, subject)| LockedCommit { commit, date, author, subject });
    let history = (text(), 0..u64::MAX / 2, prop::collection::vec(entry, 0..3))
        .prop_map(|(tag, commits, log)| LockedHistory { tag, commits, log });
    let tree = any::<[u8; 32]>().prop_map(Digest::from_bytes);
    let whole = (commit(), date(), tree, prop::option::of(history), prop::option::of(packaging()));
    whole.prop_map(|(commit, date, tree, history, packaging)| {
        Arc::new(LockedGit { commit, date, tree, history, packaging })
    })
}

fn download() -> impl Strategy<Value = Arc<LockedDownload>> {
    let format = prop::sample::select(vec![Format::TarXz, Format::Zip, Format::Tar]);
    let whole = (any::<u64>(), sha256(), prop::option::of(format), prop::option::of(packaging()));
    whole.prop_map(|(size, sha256, format, packaging)| {
        Arc::new(LockedDownload { size, sha256, format, packaging })
    })
}

fn lock() -> impl Strategy<Value = Lock> {
    let label = || "[a-z0-9][a-z0-9.-]{0,6}";
    (
        prop::collection::btree_map(label(), archive(), 0..3),
        prop::collection::btree_map((label(), name()), source(), 0..3),
        prop::collection::btree_map((text(), text()), git(), 0..3),
        prop::collection::btree_map(text(), download(), 0..3),
        prop::collection::btree_map(label(), sha256(), 0..3),
    )
        .prop_map(|(archives, sources, git, downloads, stdlib)| Lock {
            archives,
            sources,
            git,
            downloads,
            stdlib,
            ..Lock::default()
        })
}

proptest! {
    #[test]
    fn a_lock_reads_back_from_its_text(lock in lock()) {
        let text = lock.to_toml();
        prop_assert_eq!(parse(&text), Ok(lock));
    }

    #[test]
    fn any_text_is_a_lock_or_an_error(text in any::<String>()) {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.is_empty());
        }
    }
}

const CATDOC: &str = r#"# What this release is pinned to, written by `perestroika lock` and `update`.
version = 1

[[archive.bookworm.suites]]
suite = "bookworm"
date = "Sat, 10 Jan 2026 10:54:37 UTC"
release = "0101010101010101010101010101010101010101010101010101010101010101"
indexes = [
    { path = "main/binary-amd64/Packages", kind = "packages", architecture = "amd64", size = 48, sha256 = "0202020202020202020202020202020202020202020202020202020202020202" },
    { path = "main/source/Sources", kind = "sources", size = 9, sha256 = "0303030303030303030303030303030303030303030303030303030303030303" },
]

[source.bookworm."gtk+3.0"]
version = "3.24.38-2~deb12u3"
directory = "pool/main/g/gtk+3.0"
requires_root = "no"
files = [
    { name = "gtk+3.0.dsc", size = 3, sha256 = "0404040404040404040404040404040404040404040404040404040404040404" },
]
binaries = [
    { name = "gtk-3-examples", architecture = "any", profiles = "!noudeb" },
]

[source.bookworm."gtk+3.0".relations]
Build-Depends = "debhelper-compat (= 13), pkgconf"

[stdlib]
debian = "0505050505050505050505050505050505050505050505050505050505050505"
"#;

#[test]
fn the_text_of_a_lock_has_one_line_for_each_thing() {
    let lock = parse(CATDOC).expect("a lock");
    assert_eq!(lock.to_toml(), CATDOC);
    assert_eq!(lock.sources.len(), 1);
}

#[test]
fn refuses_what_could_leave_its_place_or_is_no_lock() {
    let cases = [
        (CATDOC.replace("version = 1", "version = 2"), "`release.lock` has version 2"),
        (String::new(), "`release.lock` needs `version`"),
        ("\0\u{1}garbage".to_owned(), "`release.lock` is not TOML"),
        ("version = \"1\"".to_owned(), "`version` must be an integer"),
        ("version = 1\n[archiv]\n".to_owned(), "unknown key `archiv`"),
        (CATDOC.replace("gtk+3.0.dsc", "../x.dsc"), "no plain file name"),
        (CATDOC.replace("pool/main", "pool/../.."), "no plain relative path"),
        (CATDOC.replace("main/source", "/etc"), "no plain relative path"),
        (CATDOC.replace("suite = \"bookworm\"", "suite = \"../b\""), "the name of a suite"),
        (CATDOC.replace("[stdlib]\ndebian", "[stdlib]\n\"../x\""), "cannot be a name here"),
        (CATDOC.replace("0505", "05"), "is not a digest"),
        (CATDOC.replace("size = 9", "size = -9"), "not negative"),
        (CATDOC.replace("\"sources\"", "\"surces\""), "unknown kind `surces`"),
        (CATDOC.replace("Build-Depends", "Build-Depend"), "unknown key `Build-Depend`"),
        (CATDOC.replace("\"gtk+3.0\"]\n", "\"G\"]\n"), "`G` is not a package name"),
    ];
    for (text, expected) in cases {
        let errors = parse(&text).expect_err(expected);
        let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        assert!(messages.iter().any(|message| message.contains(expected)), "{messages:?}");
        assert!(errors.iter().all(|error| !error.places.is_empty()), "{errors:?}");
    }
}
