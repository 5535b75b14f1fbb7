//! Bundles: what is in one, that nothing of it can be changed unseen, what becomes of it in
//! another store, and that a release comes out of it again without any network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
mod gnupg;
mod program;
mod scene;
mod upstream;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use common::{Desk, Ran};
use perestroika::audit::bundle::{self, Bundle, Name};
use perestroika::base::{Digest, HostPath, Json, Sha256};
use perestroika::store::Store;
use program::{PROGRAM, Release, Run, shared_store, unique};
use scene::{Alpha, Scene, readme_script};
use serde_json::Value;

/// An id that is nobody's.
const USER: u32 = 60101;

/// A release that is built, and a folder for bundles of it.
struct Bundled {
    scene: Scene,
    folder: tempfile::TempDir,
}

impl Bundled {
    fn new() -> Self {
        Self { scene: Scene::whole(Alpha::Other), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn create(&self, name: &str, flags: &[&str]) -> Ran {
        let path = self.path(name);
        let words = [&["bundle", "create", path.to_str().unwrap()], flags].concat();
        self.scene.desk.run(&words)
    }

    /// The bundle of everything.
    fn whole(&self) -> PathBuf {
        self.create("whole.perestroika", &[]).succeeds();
        self.path("whole.perestroika")
    }

    /// The id of the key that signs.
    fn key(&self) -> String {
        let keys = self.scene.desk.run(&["key", "list", "--json"]).succeeds().json();
        keys["keys"][0]["id"].as_str().unwrap().to_owned()
    }
}

/// Somebody else, who has a bundle and a store of his own.
fn elsewhere(words: &[&str], store: &Path) -> Ran {
    let desk = Desk::new().with_flags(["--offline"]).with_store(store);
    desk.run(words)
}

fn open(path: &Path) -> bundle::Result<Bundle> {
    Bundle::open(&HostPath::new(path))
}

/// Why a bundle is refused, by whoever reads all of it.
fn refusal(path: &Path) -> Option<String> {
    let read = open(path)
        .and_then(|bundle| bundle::verify(&bundle, &|_, _| {}, &AtomicBool::new(false)).map(drop));
    read.err().map(|error| error.to_string())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_bundle_has_everything_and_stock_tools_open_it() {
    let bundled = Bundled::new();
    let plan = bundled.create("whole.perestroika", &["-n", "--json"]).succeeds().json();
    assert!(!bundled.path("whole.perestroika").exists());
    let document = bundled.create("whole.perestroika", &["--json"]).succeeds().json();
    let path = bundled.path("whole.perestroika");
    assert_eq!(plan["bundle"]["members"], document["bundle"]["members"]);
    assert_eq!(fs::metadata(&path).unwrap().len(), document["bundle"]["size"].as_u64().unwrap());
    assert!(!bundled.path("whole.perestroika.partial").exists());

    // The same again, to the byte.
    bundled.create("again.perestroika", &[]).succeeds();
    assert_eq!(fs::read(&path).unwrap(), fs::read(bundled.path("again.perestroika")).unwrap());

    // By hand: every file is what its name says, and the manifest is among them.
    let out = bundled.path("by-hand");
    fs::create_dir(&out).unwrap();
    let tar = Command::new("tar").args(["--zstd", "-xf"]).arg(&path).arg("-C").arg(&out).output();
    let tar = tar.unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
    let mut members = 0;
    for folder in ["json", "logs", "objects"] {
        for entry in fs::read_dir(out.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".json");
            assert_eq!(Digest::of(&fs::read(&path).unwrap()).to_string(), name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
            members += 1;
        }
    }
    assert_eq!(members, document["bundle"]["members"].as_u64().unwrap());
    let index = fs::read(out.join("BUNDLE.json")).unwrap();
    assert_eq!(Digest::of(&index).to_string(), document["bundle"]["id"].as_str().unwrap());
    let manifest = document["release"]["manifest"].as_str().unwrap();
    let exported = fs::read(bundled.scene.desk.path("out/MANIFEST.json")).unwrap();
    assert_eq!(fs::read(out.join(format!("json/{manifest}.json"))).unwrap(), exported);
    for deb in ["one_1.0_amd64.deb", "two_1.0_amd64.deb"] {
        let deb = fs::read(bundled.scene.desk.path("out").join(deb)).unwrap();
        assert!(out.join("objects").join(Digest::of(&deb).to_string()).is_file());
    }
    let seed = fs::read(bundled.scene.archive.root().join("pool/main/core_1_all.deb")).unwrap();
    assert!(out.join("objects").join(Digest::of(&seed).to_string()).is_file());

    // As the README has it.
    let hand = bundled.path("hand");
    fs::create_dir(&hand).unwrap();
    fs::copy(&path, hand.join("demo.perestroika")).unwrap();
    let script = readme_script("tar --zstd -xf demo.perestroika");
    let said = Command::new("sh").arg("-ec").arg(script).current_dir(&hand).output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let said = String::from_utf8(said.stdout).unwrap();
    let id = document["bundle"]["id"].as_str().unwrap();
    let expected = [&bundled.key(), "  -\n", id, "\n", id, "  BUNDLE.json\n{\n"].concat();
    assert!(said.starts_with(&expected), "{said}");

    // Without any store; the key is compared with one that came another way, or that is said.
    let verify = |flags: &[&str]| {
        let words = [&["bundle", "verify", text(&path)], flags].concat();
        elsewhere(&words, &bundled.path("no-store"))
    };
    let told = verify(&[]).succeeds().out;
    let key = bundled.key();
    assert!(told.contains(&format!("signed by  {key} (not compared)")), "{told}");
    assert!(told.contains("journal    tells of 3 of 3 records and of the manifest"), "{told}");
    assert!(told.contains("closure    sealed"), "{told}");
    let told = verify(&["--key", &key]).succeeds().out;
    assert!(told.contains(&format!("signed by  {key}\n")), "{told}");
    let pem = bundled.path("builder.pub");
    fs::write(&pem, bundled.scene.desk.run(&["key", "show"]).succeeds().out).unwrap();
    assert_eq!(fs::read(&pem).unwrap(), fs::read(out.join("builder.pub")).unwrap());
    verify(&["--key", text(&pem)]).succeeds();
    let other = Sha256::of(b"another").to_string();
    verify(&["--key", &other]).fails(1, &["is not signed by the key", &other, &key]);
    verify(&["--key", "nothing"]).fails(2, &["neither a fingerprint nor a key"]);
    assert!(!bundled.path("no-store").exists());
    let document = verify(&["--json"]).succeeds().json();
    assert_eq!(document["records"].as_array().unwrap().len(), 3);
    assert_eq!(document["records"][0]["signed_by"], serde_json::json!([key]));

    // Nothing is overwritten; what is not built cannot be bundled.
    bundled.create("whole.perestroika", &[]).fails(2, &["is there already"]);
    // What lies where it is written is not followed, waited for or written through.
    let victim = bundled.path("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, bundled.path("led.perestroika.partial")).unwrap();
    fs::hard_link(&victim, bundled.path("linked.perestroika.partial")).unwrap();
    for name in ["led.perestroika", "linked.perestroika"] {
        bundled.create(name, &[]).fails(3, &[&format!("{name}.partial")]);
        assert!(!bundled.path(name).exists());
    }
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    let pipe = bundled.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    verify(&["--key", text(&pipe)]).fails(2, &["not a plain file"]);
    verify(&["--key", &key.to_uppercase()]).succeeds();
    bundled.create("none/x.perestroika", &[]).fails(3, &["cannot create", "none/x"]);
    let scene = Scene::new().built(&["alpha"], Alpha::Other);
    scene.store().make_builder_key().unwrap();
    let part = bundled.path("part.perestroika");
    let words = ["bundle", "create", text(&part)];
    scene.desk.run(&words).fails(1, &["2 of 3 packages not built"]);
}

#[test]
fn every_changed_bit_is_found_and_named() {
    let bundled = Bundled::new();
    let path = bundled.whole();
    let sound = open(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let tail = sound
        .index
        .members
        .last()
        .map(|last| last.offset + last.frames.iter().map(|(_, size)| size).sum::<u64>());
    let tail = tail.unwrap();
    let member_at = |at: u64| {
        let members = &sound.index.members;
        members[members.partition_point(|member| member.offset <= at) - 1].path.to_string()
    };
    let mut flips = 0;
    for at in (0..sound.length).step_by(64) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        let changed = [byte[0] ^ 1 << (at / 64 % 8)];
        file.write_all_at(&changed, at).unwrap();
        let told = refusal(&path).unwrap_or_else(|| panic!("byte {at} may change"));
        if at < tail {
            assert!(told.contains(&member_at(at)), "byte {at}: {told}");
        } else {
            let parts = ["BUNDLE.json", "BUNDLE.sig.json", "builder.pub", "tail", "trailer"];
            assert!(parts.iter().any(|part| told.contains(part)), "byte {at}: {told}");
        }
        file.write_all_at(&byte, at).unwrap();
        flips += 1;
    }
    assert!(flips > 200, "{flips}");
    assert_eq!(refusal(&path), None);
}

/// Of a bundle that is named from outside: too large for all of its bits.
#[test]
#[ignore = "set BUNDLE to a large bundle; it takes minutes"]
fn a_thousand_random_bits_of_a_large_bundle_are_found_and_named() {
    let path = PathBuf::from(std::env::var_os("BUNDLE").expect("BUNDLE names a bundle"));
    assert_eq!(refusal(&path), None);
    let sound = open(&path).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let (mut random, mut tail, mut whole) = (0x2545_f491_4f6c_dd1d_u64, 0, 0);
    for flip in 0..1000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (at, bit) = (random % sound.length, random >> 61);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
        let members = &sound.index.members;
        let place = members.partition_point(|member| member.offset <= at);
        // Where the tail is sound, the member that has the byte is not.
        let told = match open(&path) {
            Err(error) => {
                tail += 1;
                error.to_string()
            }
            Ok(bundle) => {
                let member = &bundle.index.members[place - 1];
                let told = bundle.check(member).expect_err("a bit of it is another").to_string();
                assert!(told.contains(&member.path.to_string()), "byte {at}: {told}");
                told
            }
        };
        assert!(told.contains(" of the bundle "), "byte {at}: {told}");
        // And whoever reads all of it comes across that.
        if flip % 50 == 0 {
            assert!(refusal(&path).is_some(), "byte {at}");
            whole += 1;
        }
        file.write_all_at(&byte, at).unwrap();
    }
    assert_eq!(refusal(&path), None);
    eprintln!("1000 bits, {tail} of them in the tail; {whole} times all of it was read");
}

#[test]
fn what_is_cut_off_added_or_rewritten_is_refused() {
    let bundled = Bundled::new();
    let path = bundled.whole();
    let sound = fs::read(&path).unwrap();
    let trailer = sound.len() - 36;
    let offset = u64::from_le_bytes(sound[trailer + 28..].try_into().unwrap()) as usize;
    let other = bundled.path("other.perestroika");
    let refused = |bytes: &[u8]| {
        fs::write(&other, bytes).unwrap();
        refusal(&other).expect("it is another file")
    };
    for end in [0, 1, 35, 36, sound.len() / 2, offset, trailer, sound.len() - 1] {
        assert!(refused(&sound[..end]).contains("no bundle"));
    }
    assert!(refused(&[&sound[..], b"\0"].concat()).contains("no bundle"));
    // Bytes before, between and behind, also such as every zstd skips.
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0more";
    for bytes in [
        [&sound[..], &sound].concat(),
        [&skipped[..], &sound].concat(),
        [&sound[..offset], skipped, &sound[offset..]].concat(),
        [&sound[..trailer], skipped, &sound[trailer..]].concat(),
        [&sound[..1000], skipped, &sound[1000..]].concat(),
    ] {
        refused(&bytes);
    }
    // With the trailer made to fit, too.
    let mut moved = [&sound[..offset], skipped, &sound[offset..]].concat();
    let end = moved.len();
    moved[end - 8..].copy_from_slice(&((offset + skipped.len()) as u64).to_le_bytes());
    assert!(refused(&moved).contains("its frames do not end"));

    // An index that is consistent in itself is not the one that was signed.
    let mut rewritten = sound.clone();
    let name = b"\"name\":\"demo\"";
    let at = sound.windows(name.len()).rposition(|window| window == name).unwrap();
    rewritten[at + 8] = b'D';
    assert!(refused(&rewritten).contains("not the index that its signature names"));
    // Nor does the envelope of another bundle help, of another release.
    let envelope = |bytes: &[u8]| {
        let head = b"{\"payload\":";
        let at = bytes.windows(head.len()).rposition(|window| window == head).unwrap();
        let end = bytes[at..].iter().position(|byte| *byte == 0).unwrap();
        bytes[at..at + end].to_vec()
    };
    bundled.scene.desk.write("more.txt", "more");
    bundled.create("more.perestroika", &[]).succeeds();
    let (old, new) =
        (envelope(&sound), envelope(&fs::read(bundled.path("more.perestroika")).unwrap()));
    let at = sound.windows(old.len()).position(|window| window == old).unwrap();
    let mut swapped = sound.clone();
    swapped[at..at + old.len()].copy_from_slice(&new);
    assert!(refused(&swapped).contains("not the index that its signature names"));

    // What is no bundle at all.
    let verify = |path: &Path| elsewhere(&["bundle", "verify", text(path)], &bundled.path("store"));
    fs::write(&other, "a text").unwrap();
    verify(&other).fails(2, &["is no bundle"]);
    verify(&bundled.path("nothing")).fails(2, &["cannot open"]);
    verify(bundled.folder.path()).fails(3, &["not a plain file"]);
    fs::write(&other, &rewritten).unwrap();
    let import = ["bundle", "import", text(&other)];
    elsewhere(&import, &bundled.path("store")).fails(1, &["BUNDLE.json", "get another copy"]);
}

/// The bundle at `from` without some members and with a changed index, signed by its own key: what
/// somebody could make who has that.
fn forged(
    bundled: &Bundled,
    from: &Path,
    keeps: impl Fn(&Name) -> bool,
    change: impl FnOnce(&mut Value),
) -> PathBuf {
    let (sound, bytes) = (open(from).unwrap(), fs::read(from).unwrap());
    let mut index: Value = serde_json::from_slice(&sound.index.encode()).unwrap();
    let (mut frames, mut members) = (Vec::new(), Vec::new());
    for (member, told) in sound.index.members.iter().zip(index["members"].as_array().unwrap()) {
        if keeps(&member.path) {
            let size: u64 = member.frames.iter().map(|(_, size)| size).sum();
            frames.extend_from_slice(&bytes[member.offset as usize..][..size as usize]);
            members.push(told.clone());
        }
    }
    index["members"] = members.into();
    change(&mut index);
    let index = Json::read(&serde_json::to_vec(&index).unwrap()).unwrap().encode();
    let key = bundled.scene.store().builder_key().unwrap().unwrap();
    let head = Json::object([
        ("format", "perestroika/bundle-head/1".into()),
        ("index", Json::text(Digest::of(&index))),
    ]);
    let signature = key.sign(bundle::BUNDLE_TYPE, &head).encode();
    let mut tail = Vec::new();
    let parts = [("BUNDLE.json", &index[..]), ("BUNDLE.sig.json", &signature)];
    for (path, content) in parts.into_iter().chain([("builder.pub", key.public_pem().as_bytes())]) {
        // As it was, but for the size.
        let path: Vec<u8> = [path.as_bytes(), b"\0"].concat();
        let at = bytes.windows(path.len()).rposition(|window| window == path).unwrap();
        let mut header = bytes[at..at + 512].to_vec();
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tail.extend(header);
        tail.extend_from_slice(content);
        tail.resize(tail.len().next_multiple_of(512), 0);
    }
    tail.resize(tail.len() + 1024, 0);
    assert!(tail.len() < 128 << 10, "one block");
    let trailer = &bytes[bytes.len() - 36..bytes.len() - 8];
    let offset = (frames.len() as u64).to_le_bytes();
    frames.extend_from_slice(b"\x28\xb5\x2f\xfd\xc0\x38");
    frames.extend_from_slice(&(tail.len() as u64).to_le_bytes());
    frames.extend_from_slice(&(1 | (tail.len() as u32) << 3).to_le_bytes()[..3]);
    fs::write(from.with_extension("forged"), [&frames, &tail, trailer, &offset].concat()).unwrap();
    from.with_extension("forged")
}

#[test]
fn what_its_own_key_signed_has_to_be_whole_and_to_belong_together() {
    let bundled = Bundled::new();
    let path = bundled.whole();
    assert_eq!(refusal(&forged(&bundled, &path, |_| true, |_| {})), None, "nothing is changed");
    let index = open(&path).unwrap().index;
    let out = bundled.scene.desk.path("out/one_1.0_amd64.deb");
    let output = Name::Object(Digest::of(&fs::read(out).unwrap()));
    let seed = bundled.scene.archive.root().join("pool/main/core_1_all.deb");
    let seed = Name::Object(Digest::of(&fs::read(seed).unwrap()));
    let makefile = Name::Object(Digest::of(b"all:\n"));
    let (record, envelopes) = index.signatures.first_key_value().unwrap();
    let log = index.members.iter().find(|one| matches!(one.path, Name::Log(_))).unwrap().path;
    let missing = [
        (output, "lacks output `one_1.0_amd64.deb`"),
        (seed, "lacks seed package `core 1 all`"),
        (makefile, "lacks file `src/Makefile` of the release"),
        (log, "lacks the log of a build"),
        (Name::Document(*record), "lacks a record"),
        (Name::Document(envelopes[0]), "lacks the signature of a record"),
        (Name::Document(index.manifest), "lacks the manifest"),
        (Name::Document(index.tree), "lacks the list of the release's files"),
    ];
    let store = bundled.path("store");
    let refused = |forged: &Path, told: &str| {
        let refusal = refusal(forged).expect(told);
        assert!(refusal.contains(told), "{refusal}");
        elsewhere(&["bundle", "import", text(forged)], &store).fails(1, &[told]);
        assert_eq!(fs::read_dir(store.join("objects")).map_or(0, Iterator::count), 0, "{told}");
    };
    for (name, told) in missing {
        refused(&forged(&bundled, &path, |one| *one != name, |_| {}), told);
    }
    let other = |key: &'static str, with: &'static str| {
        move |index: &mut Value| index[key] = index[with].clone()
    };
    let swapped: [(&str, &str, &str); 4] = [
        ("manifest", "certificate", "the closure certificate is not of this release"),
        ("certificate", "manifest", "the closure certificate is not of this release"),
        ("journal", "manifest", "the journal's proofs: "),
        ("release", "manifest", "is no release `demo 1.0`"),
    ];
    for (key, with, told) in swapped {
        refused(&forged(&bundled, &path, |_| true, other(key, with)), told);
    }
    let at = index.members.iter().position(|one| one.path == output).unwrap();
    type Change = Box<dyn Fn(&mut Value)>;
    let changed: [(Change, &str); 5] = [
        (Box::new(|index| index["folder"] = "no".into()), "lacks file `no/release.toml`"),
        (Box::new(|index| index["name"] = "other".into()), "is no release `other 1.0`"),
        (Box::new(|index| index["signatures"] = serde_json::json!({})), "not the records of"),
        (Box::new(|index| index["keys"] = serde_json::json!([])), "is not among its keys"),
        (
            Box::new(move |index| index["members"][at]["sha256"] = "0".repeat(64).into()),
            "its SHA-256 is another",
        ),
    ];
    for (change, told) in changed.iter().take(4) {
        refused(&forged(&bundled, &path, |_| true, change), told);
    }
    // Who reads it all is told of the digest, who reads documents first that they contradict it.
    let (change, told) = &changed[4];
    let forged = forged(&bundled, &path, |_| true, change);
    assert!(refusal(&forged).unwrap().contains(told));
    elsewhere(&["bundle", "import", text(&forged)], &store)
        .fails(1, &["`one_1.0_amd64.deb` is not as record"]);
    assert_eq!(fs::read_dir(store.join("objects")).unwrap().count(), 0);
}

#[test]
fn what_was_begun_is_gone_on_with() {
    let bundled = Bundled::new();
    let path = bundled.whole();
    let sound = fs::read(&path).unwrap();
    let partial = bundled.path("again.perestroika.partial");
    let again = bundled.path("again.perestroika");
    // Cut at any place, and followed by what a crash may leave.
    for (end, junk) in
        [(sound.len() / 2, &b""[..]), (sound.len() / 3, b"\0\0\0"), (sound.len(), b"")]
    {
        fs::write(&partial, [&sound[..end], junk].concat()).unwrap();
        let told = bundled.create("again.perestroika", &[]).succeeds().out;
        assert!(told.contains("from a run that broke off"), "{told}");
        assert_eq!(fs::read(&again).unwrap(), sound);
        fs::remove_file(&again).unwrap();
    }
    // A bit of it changed meanwhile.
    let mut changed = sound.clone();
    changed[sound.len() / 4] ^= 1;
    fs::write(&partial, &changed).unwrap();
    bundled.create("again.perestroika", &[]).succeeds();
    assert_eq!(fs::read(&again).unwrap(), sound);

    // An import that was killed left some of it in the store.
    let store = bundled.path("store");
    let import = ["bundle", "import", text(&path), "--json"];
    let first = elsewhere(&import, &store).succeeds().json();
    let all = first["new"]["members"].as_u64().unwrap();
    assert_eq!(all, first["bundle"]["members"].as_u64().unwrap());
    let objects: Vec<PathBuf> =
        fs::read_dir(store.join("objects")).unwrap().map(|entry| entry.unwrap().path()).collect();
    objects[..3].iter().for_each(|path| fs::remove_file(path).unwrap());
    let second = elsewhere(&import, &store).succeeds().json();
    assert_eq!(second["new"]["members"], 3);
    assert!(objects.iter().all(|path| path.is_file()));
}

#[test]
fn imported_records_are_evidence_unless_their_key_is_trusted() {
    let bundled = Bundled::new();
    let (path, key) = (bundled.whole(), bundled.key());
    let (store, folder) = (bundled.path("store"), bundled.path("release"));
    let plan = elsewhere(&["bundle", "import", text(&path), "-n"], &store).succeeds().out;
    assert!(plan.contains("it would bring "), "{plan}");
    let import = ["bundle", "import", text(&path), "--to", text(&folder)];
    let told = elsewhere(&import, &store).succeeds().out;
    assert!(told.contains("evidence   3 records: no build uses what they say"), "{told}");
    elsewhere(&import, &store).fails(2, &["is there already"]);

    // The release is the same, and nothing of it counts as built.
    let build = ["build", text(&folder), "-n", "--json"];
    let document = elsewhere(&build, &store).succeeds().json();
    let release = open(&path).unwrap().index.release.to_string();
    assert_eq!(document["release"]["id"], release.as_str());
    let statuses = |document: &Value| -> Vec<String> {
        let packages = document["packages"].as_array().unwrap().iter();
        packages.map(|one| one["status"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert!(statuses(&document).iter().all(|status| status != "cached"), "{document}");
    {
        let store = Store::open(&HostPath::new(&store)).unwrap();
        assert_eq!(store.adopted_records().unwrap().len(), 0);
        let records = open(&path).unwrap().index.signatures.into_keys().collect::<Vec<_>>();
        for record in records {
            let witnesses = store.witnesses_of(&record).unwrap();
            assert_eq!(witnesses.len(), 1);
            assert_eq!(witnesses[0].id.to_string(), key);
            assert_eq!(store.witnesses(&witnesses[0].action).unwrap(), witnesses);
        }
    }

    // All of it stays until it is let go.
    let usage = elsewhere(&["store", "usage"], &store).succeeds().out;
    assert!(usage.contains("\nkept\n  demo 1.0  b3:") && usage.contains("  imported\n"), "{usage}");
    let gc = || elsewhere(&["store", "gc"], &store).succeeds();
    let count = || fs::read_dir(store.join("objects")).unwrap().count();
    let before = count();
    gc();
    assert_eq!(count(), before);
    let other = Sha256::of(b"another").to_string();
    let trust = |key: &str| elsewhere(&["bundle", "import", text(&path), "--trust", key], &store);
    trust(&other).fails(1, &["not signed by a key that `--trust` names", &key]);
    let told = trust(&key).succeeds().out;
    assert!(told.contains("results    3 records: builds use what they say"), "{told}");
    let document = elsewhere(&["build", text(&folder), "--json"], &store).succeeds().json();
    assert_eq!(statuses(&document), ["cached"; 3]);
    for deb in ["one_1.0_amd64.deb", "two_1.0_amd64.deb"] {
        let theirs = fs::read(bundled.scene.desk.path("out").join(deb)).unwrap();
        assert_eq!(fs::read(folder.join("out").join(deb)).unwrap(), theirs);
    }
    elsewhere(&["audit", "closure", text(&folder)], &store).succeeds();
    elsewhere(&["audit", "history", text(&folder)], &store).succeeds();

    // What another builder signed stays his, also in a bundle that is made of it.
    let second = bundled.path("second.perestroika");
    let words = ["bundle", "create", text(&second), text(&folder), "--json"];
    let document = elsewhere(&words, &store).succeeds().json();
    assert_ne!(document["bundle"]["signed_by"], key.as_str());
    let document = elsewhere(&["bundle", "verify", text(&second), "--json"], &store).succeeds();
    assert_eq!(document.json()["records"][0]["signed_by"], serde_json::json!([key]));

    elsewhere(&["store", "unpin", "demo"], &store).succeeds();
    elsewhere(&["store", "unpin", &format!("{}/", text(&folder))], &store).succeeds();
    gc();
    assert!(count() < before, "{} of {before} are left", count());
}

#[test]
fn a_delta_needs_what_it_was_made_against() {
    let bundled = Bundled::new();
    let old = bundled.whole();
    bundled.scene.desk.write("notes/more.txt", "more");
    let plan = bundled.create("delta.perestroika", &["--delta", text(&old), "-n"]).succeeds().out;
    assert!(plan.contains("and leave out "), "{plan}");
    let document = bundled.create("delta.perestroika", &["--delta", text(&old), "--json"]);
    let document = document.succeeds().json();
    let delta = bundled.path("delta.perestroika");
    let names = |path: &Path| -> Vec<Name> {
        open(path).unwrap().index.members.iter().map(|member| member.path).collect()
    };
    let (new, before) = (names(&delta), names(&old));
    assert!(new.contains(&Name::Object(Digest::of(b"more"))));
    assert!(new.iter().all(|name| !before.contains(name)) && new.len() < 6, "{new:?}");
    assert_eq!(document["bundle"]["elsewhere"].as_u64().unwrap() as usize, before.len() - 1);

    let store = bundled.path("store");
    let told = elsewhere(&["bundle", "verify", text(&delta)], &store).succeeds().out;
    let base = open(&old).unwrap().id.to_string();
    assert!(told.contains(&format!("more in bundle {base}")), "{told}");
    elsewhere(&["bundle", "import", text(&delta)], &store)
        .fails(1, &["this delta was made against", &base, "import that bundle first"]);
    elsewhere(&["reproduce", text(&delta)], &store).fails(2, &["only a whole bundle"]);
    elsewhere(&["bundle", "import", text(&old)], &store).succeeds();
    let to = bundled.path("release");
    elsewhere(&["bundle", "import", text(&delta), "--to", text(&to)], &store).succeeds();
    assert_eq!(fs::read(to.join("notes/more.txt")).unwrap(), b"more");
}

#[test]
fn a_release_comes_with_those_that_it_extends() {
    let bundled = Bundled::new();
    let desk = &bundled.scene.desk;
    let text_of = "[release]\nname = \"customer\"\nversion = \"1.0\"\nextends = \"../release\"\n\
                   without = [\"one\", \"two\"]\n\
                   maintainer = \"A <a@example.org>\"\n";
    desk.write("../customer/release.toml", text_of);
    desk.run(&["lock", "../customer/"]).succeeds();
    desk.run(&["build", "../customer/"]).succeeds();
    bundled.create("customer.perestroika", &["../customer/"]).succeeds();
    let (path, to) = (bundled.path("customer.perestroika"), bundled.path("releases"));
    let store = bundled.path("store");
    let key = bundled.key();
    let import = ["bundle", "import", text(&path), "--to", text(&to), "--trust", &key];
    let told = elsewhere(&import, &store).succeeds().out;
    assert!(told.contains("results    1 record:"), "{told}");
    let customer = to.join("customer");
    let build = ["build", text(&customer), "--json"];
    let document = elsewhere(&build, &store).succeeds().json();
    assert_eq!(document["summary"]["cached"], 1, "{document}");
    let id = open(&path).unwrap().index.release.to_string();
    assert_eq!(document["release"]["id"], id.as_str());
    let original = fs::read(desk.path("packages/all.rhai")).unwrap();
    assert_eq!(fs::read(to.join("release/packages/all.rhai")).unwrap(), original);
}

#[test]
fn records_alone_are_documents_that_are_signed() {
    let bundled = Bundled::new();
    bundled.create("records.perestroika", &["--records"]).succeeds();
    let path = bundled.path("records.perestroika");
    let bundle = open(&path).unwrap();
    assert!(bundle.index.members.iter().all(|one| matches!(one.path, Name::Document(_))));
    let whole = bundled.whole();
    assert!(fs::metadata(&path).unwrap().len() < fs::metadata(&whole).unwrap().len());
    let store = bundled.path("store");
    elsewhere(&["bundle", "verify", text(&path), "--key", &bundled.key()], &store).succeeds();
    elsewhere(&["bundle", "import", text(&path), "--trust", &bundled.key()], &store)
        .fails(2, &["neither a release folder nor results"]);
    elsewhere(&["bundle", "import", text(&path)], &store).succeeds();
    let (store, mut seen) = (Store::open(&HostPath::new(&store)).unwrap(), 0);
    for (record, envelopes) in &bundle.index.signatures {
        let witnesses = store.witnesses_of(record).unwrap();
        assert_eq!(witnesses.iter().map(|one| one.signature).collect::<Vec<_>>(), *envelopes);
        seen += witnesses.len();
    }
    assert_eq!(seen, 3);
}

#[test]
fn a_release_comes_out_of_its_bundle_again_without_a_network() {
    let release = Release::copy_of("specs/single");
    fs::remove_file(release.path("hello.rhai")).unwrap();
    let package = |name: &str, needs: &str, script: &str| {
        format!(
            "package(#{{\n    name: \"{name}\",\n    version: \"1.0\",\n    summary: \"Test\",\n    \
             license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \"{}\" }},\n    \
             source: dir(\"src/hello\"),\n    build_depends: [{needs}],\n    \
             build: script(##\"\n{script}\n\"##),\n}})\n",
            unique()
        )
    };
    let chance = "mkdir -p \"$DESTDIR/usr/share/chance\"\n\
                  cat /proc/sys/kernel/random/uuid > \"$DESTDIR/usr/share/chance/number\"";
    // It has in it what the other came to by chance: built again, it takes that from the bundle.
    let steady = "install -D /usr/share/chance/number \"$DESTDIR/usr/share/steady/number\"";
    release.write("chance.rhai", &package("chance", "", chance));
    release.write("steady.rhai", &package("steady", "\"chance\"", steady));
    release.run("build", &[]).ends_with(0);
    let file = release.folder.path().join("two.perestroika");
    let mut create = Command::new(PROGRAM);
    create.args(["bundle", "create"]).arg(&file).arg(release.path(""));
    Run::of(create.arg("--store").arg(shared_store())).ends_with(0);

    // A network without devices, a user who has nothing, and a store that is empty.
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("perestroika");
    fs::copy(PROGRAM, &program).unwrap();
    fs::rename(&file, home.path().join("two.perestroika")).unwrap();
    let file = home.path().join("two.perestroika");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let owner = format!("{USER}:{USER}");
        let given = Command::new("chown").args(["-R", &owner]).arg(home.path()).status();
        assert!(given.unwrap().success());
    }
    let alone = |words: &[&str]| {
        let mut command = Command::new(if is_root { "setpriv" } else { "unshare" });
        if is_root {
            let id = USER.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "unshare"]);
        }
        command.arg("-rn").arg(&program).args(words).arg("--store").arg(home.path().join("store"));
        Run::of(command.env("HOME", home.path()).current_dir(home.path()))
    };
    let run = alone(&["reproduce", text(&file), "--json"]).ends_with(1);
    let document = run.json();
    let verdict = |name: &str| {
        let mut packages = document["packages"].as_array().unwrap().iter();
        packages.find(|one| one["name"] == name).unwrap()["verdict"].clone()
    };
    assert_eq!((verdict("chance"), verdict("steady")), ("differs".into(), "reproduced".into()));
    assert_eq!(document["certified"], true);
    let bundle = open(&file).unwrap();
    assert_eq!(document["release"]["id"], bundle.index.release.to_string());
    assert_eq!(document["bundle"]["id"], bundle.id.to_string());
    assert!(run.err.contains("chance 1.0: begins"), "{}", run.err);
    // Nothing of it stays.
    let left = |folder: &str| fs::read_dir(home.path().join("store").join(folder)).unwrap().count();
    assert_eq!((left("objects"), left("json"), left("scratch")), (0, 0, 0));

    let other = Sha256::of(b"another").to_string();
    let run = alone(&["reproduce", text(&file), "--key", &other]).ends_with(1);
    assert!(run.err.contains("is not signed by the key"), "{}", run.err);
}
