//! Build roots beside what apt makes of the same packages, and with packages that are odd on
//! purpose.
//!
//! mmdebstrap makes the reference (in whatever mode it can here), and its package files are what
//! our own root is made of. A reference is kept in the target folder: the suite is frozen.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use perestroika::archive::deb::index::BinaryPackage;
use perestroika::archive::deb::package;
use perestroika::base::{Digest, HostPath, Sha256};
use perestroika::realise::buildroot::{self, BuildRoot, EntryKind, Error, Manifest, RootPackage};
use perestroika::sandbox::native::Native;
use perestroika::store::Store;

/// The suite whose packages are used.
const SUITE: &str = "bookworm";

/// What every base root has besides the essential packages.
const BASE: &str = "build-essential,fakeroot";

/// The build dependencies of curl.
const CURL: &str = "debhelper,autoconf,automake,ca-certificates,groff-base,libbrotli-dev,\
    libgnutls28-dev,libidn2-dev,libkrb5-dev,libldap2-dev,libnghttp2-dev,libpsl-dev,librtmp-dev,\
    libssh2-1-dev,libssl-dev,libtool,libzstd-dev,locales-all,openssh-server,python3,\
    python3-impacket,quilt,stunnel4,zlib1g-dev,gnutls-bin";

/// A graphical stack: icon, schema, font and module caches, triggers and diversions galore.
const GTK: &str = "libgtk-3-dev";

/// Paths that apt's root has and ours has not, or the other way round, each with the reason.
/// A path that ends in `/*` stands for all below it.
const ONE_SIDED: [(&str, &str); 33] = [
    ("dev/*", "the guest has its own devices"),
    ("proc/*", "the guest has its own"),
    ("sys/*", "the guest has none"),
    ("run/*", "of running processes only"),
    ("tmp/*", "of running processes only"),
    ("etc/apt/preferences.d", "mmdebstrap makes apt's folders"),
    ("etc/apt/sources.list", "mmdebstrap writes it"),
    ("etc/apt/sources.list.d", "mmdebstrap makes apt's folders"),
    ("etc/apt/auth.conf.d", "mmdebstrap makes apt's folders"),
    ("etc/apt/apt.conf.d", "mmdebstrap makes apt's folders"),
    ("etc/fstab", "mmdebstrap writes it"),
    ("etc/hostname", "mmdebstrap copies the host's"),
    ("etc/hosts", "the guest contract has its own, so no script makes one"),
    ("etc/resolv.conf", "mmdebstrap copies the host's"),
    ("etc/.pwd.lock", "a lock"),
    ("etc/group-", "a backup"),
    ("etc/gshadow-", "a backup"),
    ("etc/passwd-", "a backup"),
    ("etc/shadow-", "a backup"),
    ("etc/subgid-", "a backup"),
    ("etc/subuid-", "a backup"),
    ("etc/ssh/ssh_host_*", "random keys of a host"),
    ("var/cache/apt", "apt's cache, and our root needs no apt"),
    ("var/cache/apt/*", "apt's cache"),
    ("var/cache/debconf/*-old", "a backup"),
    ("var/cache/fontconfig/*", "a cache that holds times of folders"),
    ("var/cache/man/*", "a cache that holds times of files"),
    ("var/lib/apt", "apt's state, and our root needs no apt"),
    ("var/lib/apt/*", "apt's state"),
    ("var/lib/dpkg/*-old", "a backup"),
    ("var/lib/dpkg/lock*", "locks"),
    ("var/lib/dpkg/arch", "mmdebstrap writes down the only architecture"),
    ("var/lib/dpkg/triggers/Lock", "a lock"),
];

/// Logs, by the same rule: they may be there or not, with any content.
const LOGS: [&str; 1] = ["var/log/*"];

/// Paths whose content differs, with the reason.
const OTHER_CONTENT: [(&str, Sameness, &str); 7] = [
    ("etc/shells", Sameness::Lines, "shells come in the order in which they are configured"),
    ("etc/passwd", Sameness::Names, "system users get numbers in the order of configuration"),
    ("etc/group", Sameness::Names, "system groups get numbers in the order of configuration"),
    ("etc/shadow", Sameness::Names, "as etc/passwd, and the day a password was changed"),
    ("etc/gshadow", Sameness::Names, "as etc/group"),
    ("var/lib/dpkg/triggers/File", Sameness::Lines, "interests come in the order of unpacking"),
    ("etc/machine-id", Sameness::Any, "mmdebstrap empties it as we do, but changes its mode"),
];

/// In what way a file that differs is still the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sameness {
    /// The same lines in another order.
    Lines,
    /// The same first fields in another order.
    Names,
    /// Not at all.
    Any,
}

#[test]
fn a_root_is_what_apt_installs() {
    let references = [("base", BASE), ("curl", CURL), ("gtk", GTK)].map(|(name, extra)| {
        let all = if extra == BASE { BASE.to_owned() } else { format!("{BASE},{extra}") };
        (name, reference(name, &all))
    });
    let ours = Ours::new();
    let base = Reference::read(&references[0].1, &ours.store);
    let mut met = BTreeSet::new();
    let root = ours.provide(&base.packages, &[]);
    compare("base", &ours, &root, &base, &mut met);
    let mut first = vec![root];
    for (name, file) in &references[1..] {
        let reference = Reference::read(file, &ours.store);
        let rest = without(&reference.packages, &base.packages);
        let root = ours.provide(&base.packages, &rest);
        assert_eq!(root.layers[..1], first[0].layers, "the base is shared");
        compare(name, &ours, &root, &reference, &mut met);
        first.push(root);
        if *name == "curl" {
            // A stratum between them changes nothing of what is there in the end.
            let file = self::reference("debhelper", &format!("{BASE},debhelper"));
            let debhelper = without(&Reference::read(&file, &ours.store).packages, &base.packages);
            let above = without(&rest, &debhelper);
            assert_eq!(above.len() + debhelper.len(), rest.len(), "curl needs all of debhelper");
            let root = ours.try_layers(&[base.packages.clone(), debhelper, above]).unwrap();
            assert_eq!(root.layers.len(), 3);
            compare("curl over a stratum", &ours, &root, &reference, &mut met);
        }
    }
    let known = ONE_SIDED.iter().map(|(path, _)| *path);
    let known = known.chain(OTHER_CONTENT.iter().map(|(path, ..)| *path));
    let optional = ["etc/apt/", "etc/sub", "dev/", "proc/", "sys/", "run/", "tmp/", "etc/resolv"];
    let unmet: Vec<&str> = known
        .filter(|path| !met.contains(path) && !optional.iter().any(|some| path.starts_with(some)))
        .collect();
    assert!(unmet.is_empty(), "exceptions that are no longer needed: {unmet:?}");
}

/// Everything again, in another store: the same manifests.
#[test]
fn a_root_is_the_same_each_time() {
    let base_file = reference("base", BASE);
    let curl_file = reference("curl", &format!("{BASE},{CURL}"));
    let make = || {
        let ours = Ours::new();
        let base = Reference::read(&base_file, &ours.store).packages;
        let rest = without(&Reference::read(&curl_file, &ours.store).packages, &base);
        let root = ours.provide(&base, &rest);
        let again = ours.provide(&base, &rest);
        assert_eq!(root, again, "the second time it is found");
        let manifests = root.manifests.iter().map(|digest| ours.manifest(digest)).collect();
        let seen: Vec<Manifest> = manifests;
        (root.manifests, seen)
    };
    let ((first, first_seen), (second, second_seen)) = (make(), make());
    for (one, other) in first_seen.iter().zip(&second_seen) {
        for (path, entry) in &one.entries {
            assert_eq!(Some(entry), other.entries.get(path), "{path}");
        }
    }
    assert_eq!(first, second);
}

/// Packages that meet one another's files, divert, replace, trigger, fail and attack.
#[test]
fn odd_packages_are_treated_as_dpkg_would() {
    let ours = Ours::new();
    let base = Reference::read(&reference("base", BASE), &ours.store).packages;
    let root = |odd: &[Odd<'_>]| {
        let rest: Vec<RootPackage> = odd.iter().map(|odd| odd.build(&ours.store)).collect();
        ours.try_provide(&base, &rest)
    };
    let text = |root: &BuildRoot, path: &str| {
        let found = root.layers.iter().rev().map(|layer| layer.join(path));
        let path = found.into_iter().find(|path| path.as_path().exists()).expect(path);
        fs::read_to_string(path).unwrap()
    };

    // Two packages with one path.
    let odd = |name, text| Odd::new(name).file("usr/share/odd/x", text);
    let one = odd("odd-one", "one").file("usr/share/odd/one", "");
    let two = odd("odd-two", "two").file("usr/share/odd/two", "");
    let error = root(&[one.clone(), two.clone()]).unwrap_err().to_string();
    assert_eq!(
        error,
        "`usr/share/odd/x` is in both `odd-one 1 all` and `odd-two 1 all`, \
         and neither replaces the other"
    );
    let bash = Odd::new("odd-bash").file("usr/share/doc/bash/copyright", "mine");
    let error = root(&[bash]).unwrap_err().to_string();
    assert!(error.starts_with("`usr/share/doc/bash/copyright` is in both `bash"), "{error}");

    // One says that it replaces the other.
    for replacing in ["odd-one", "odd-two"] {
        let pair = [one.clone(), two.clone()].map(|odd| {
            if odd.name == replacing { odd.field("Replaces: odd-one, odd-two") } else { odd }
        });
        let made = root(&pair).unwrap();
        assert_eq!(text(&made, "usr/share/odd/x"), replacing.trim_start_matches("odd-"));
        let loser = if replacing == "odd-one" { "odd-two" } else { "odd-one" };
        let list = text(&made, &format!("var/lib/dpkg/info/{loser}.list"));
        assert!(!list.contains("/usr/share/odd/x"), "dpkg takes the path from {loser}");
    }

    // A diversion made by a preinst, a conffile, a folder of its own mode, a set-id program.
    let diverting = Odd::new("odd-diverting")
        .file("usr/bin/odd", "diverting")
        .script(
            "preinst",
            "dpkg-divert --package odd-diverting --rename --add \
             --divert /usr/bin/odd.real /usr/bin/odd",
        )
        .field("Pre-Depends: odd-plain");
    let plain = Odd::new("odd-plain")
        .file("usr/bin/odd", "plain")
        .file("etc/odd.conf", "conf")
        .mode("usr/bin/odd", 0o4755)
        .control("conffiles", "/etc/odd.conf\n");
    let made = root(&[diverting, plain]).unwrap();
    assert_eq!(text(&made, "usr/bin/odd"), "diverting");
    assert_eq!(text(&made, "usr/bin/odd.real"), "plain");
    let status = text(&made, "var/lib/dpkg/status");
    let md5 = Command::new("sh").args(["-c", "printf conf | md5sum | cut -c-32"]).output();
    let md5 = String::from_utf8(md5.unwrap().stdout).unwrap();
    assert!(status.contains(&format!(" /etc/odd.conf {md5}")), "the digest of a conffile");
    let manifest = ours.manifest(&made.manifests[1]);
    assert_eq!(manifest.entries["usr/bin/odd.real"].mode, 0o4755, "set-id is in the manifest");
    let real = fs::metadata(made.layers[1].join("usr/bin/odd.real")).unwrap();
    assert_eq!(real.permissions().mode() & 0o7777, 0o755, "and nowhere else");

    // File triggers fire although the files were unpacked natively.
    let interested = Odd::new("odd-interested")
        .control("triggers", "interest-noawait /usr/share/odd-things\n")
        .file("usr/share/doc/odd/x", "")
        .script("postinst", "echo \"$*\" >>/var/lib/odd-calls");
    let things = Odd::new("odd-things").file("usr/share/odd-things/x", "x");
    let made = root(&[interested.clone(), things.clone()]).unwrap();
    assert!(text(&made, "var/lib/odd-calls").starts_with("configure"));
    let rest = [interested.build(&ours.store)];
    let base_and: Vec<RootPackage> = base.iter().cloned().chain(rest).collect();
    let made = ours.provide(&base_and, &[things.build(&ours.store)]);
    assert_eq!(
        text(&made, "var/lib/odd-calls"),
        "configure \ntriggered /usr/share/odd-things\n",
        "a package of the base hears of files of the layer over it"
    );
    assert_eq!(text(&made, "var/lib/dpkg/triggers/Unincorp"), "");

    // A service must not start while a root is made.
    let service = Odd::new("odd-service").script(
        "postinst",
        "set +e; /usr/sbin/policy-rc.d odd start; echo $? >/var/lib/odd-policy",
    );
    let made = root(&[service]).unwrap();
    assert_eq!(text(&made, "var/lib/odd-policy"), "101\n");
    assert!(!made.layers[1].join("usr/sbin/policy-rc.d").as_path().exists());

    // A script that fails, and one that asks for the network or another user.
    let failing = Odd::new("odd-failing").script("postinst", "echo no way >&2; exit 3");
    match root(&[failing]).unwrap_err() {
        Error::Configure { verdict, log } => {
            assert!(log.contains("no way"), "{log}");
            assert!(
                verdict.starts_with("`odd-failing`: installed odd-failing package"),
                "{verdict}"
            );
        }
        error => panic!("{error}"),
    }

    // Scripts that need other ids than the one there is, and one that only believes it does.
    let giving = "touch /var/lib/odd && chown daemon /var/lib/odd";
    for (script, call) in [
        (format!("{giving} && test \"$(stat -c %U /var/lib/odd)\" = daemon"), "`chown` answers"),
        ("test \"$(setpriv --reuid=1 id -u)\" = 1".to_owned(), "`setpriv` answers"),
    ] {
        let error = root(&[Odd::new("odd-owner").script("postinst", &script)]).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with(
                "package `odd-owner` could not be configured with one id: installed odd-owner \
                 package post-installation script subprocess returned error exit status 1"
            ),
            "{message}"
        );
        let reasons = error.reasons();
        assert!(reasons[0].starts_with(&format!("its `postinst`: {call} success")), "{reasons:?}");
        assert!(reasons[1].starts_with("a build root has the id 0 alone"), "{reasons:?}");
    }
    assert!(root(&[Odd::new("odd-giver").script("postinst", giving)]).is_ok());

    // Another version of a package of the base: everything anew, as one layer.
    let newer = Odd::new("fakeroot").version("99").file("usr/bin/odd-fakeroot", "newer");
    let made = root(&[newer]).unwrap();
    assert_eq!(made.layers.len(), 1);
    assert_eq!(text(&made, "usr/bin/odd-fakeroot"), "newer");
    assert!(!made.layers[0].join("usr/bin/fakeroot-sysv").as_path().exists());

    // Nothing of the attacks is left in the store, and the next root is fine.
    let hostile = ours.store.put(b"!<arch>\nno package").unwrap();
    let package = things.build(&ours.store).package;
    let bad = RootPackage { package: changed(&package), object: hostile };
    let error = ours.try_provide(&base, &[bad]).unwrap_err();
    assert_eq!(error.to_string(), "package `odd-things 1 all` cannot be unpacked");
    assert!(root(std::slice::from_ref(&things)).is_ok());

    // A shared tree that lost a part is unpacked again.
    let tree = ours.store.unpacked(&package.sha256).unwrap().unwrap();
    for (lost, other) in
        [("files/usr/share/odd-things/x", "odd-third"), ("control/control", "odd-fourth")]
    {
        fs::remove_file(tree.join(lost)).unwrap();
        let made = root(&[things.clone(), Odd::new(other)]).unwrap();
        assert_eq!(text(&made, "usr/share/odd-things/x"), "x");
        assert!(tree.join(lost).as_path().exists(), "{lost} is back");
    }
}

/// The same package with another digest, so that no unpacked tree of it is known.
fn changed(package: &BinaryPackage) -> Arc<BinaryPackage> {
    let mut changed = package.clone();
    changed.sha256 = Sha256::of(b"another");
    Arc::new(changed)
}

/// A package made for a test.
#[derive(Clone)]
struct Odd<'a> {
    name: &'a str,
    version: &'a str,
    fields: String,
    control: Vec<(&'a str, String)>,
    files: Vec<(&'a str, &'a str)>,
    modes: Vec<(&'a str, u32)>,
}

impl<'a> Odd<'a> {
    fn new(name: &'a str) -> Self {
        let (control, files, modes) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, version: "1", fields: String::new(), control, files, modes }
    }

    fn version(mut self, version: &'a str) -> Self {
        self.version = version;
        self
    }

    fn field(mut self, field: &str) -> Self {
        self.fields.push_str(field);
        self.fields.push('\n');
        self
    }

    fn file(mut self, path: &'a str, text: &'a str) -> Self {
        self.files.push((path, text));
        self
    }

    fn mode(mut self, path: &'a str, mode: u32) -> Self {
        self.modes.push((path, mode));
        self
    }

    fn control(mut self, name: &'a str, text: &str) -> Self {
        self.control.push((name, text.to_owned()));
        self
    }

    fn script(self, name: &'a str, text: &str) -> Self {
        self.control(name, &format!("#!/bin/sh\nset -e\n{text}\n"))
    }

    fn build(&self, store: &Store) -> RootPackage {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let write = |path: &str, text: &str, mode: u32| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let Self { name, version, fields, .. } = self;
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}\
             Maintainer: M <m@example.org>\nDescription: odd\n"
        );
        write("DEBIAN/control", &control, 0o644);
        for (name, text) in &self.control {
            write(
                &format!("DEBIAN/{name}"),
                text,
                if text.starts_with("#!") { 0o755 } else { 0o644 },
            );
        }
        for (path, text) in &self.files {
            let mode = self.modes.iter().find(|(other, _)| other == path).map(|(_, mode)| *mode);
            write(path, text, mode.unwrap_or(0o644));
        }
        let built = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "-b", "root", "x.deb"])
            .current_dir(folder.path())
            .env("SOURCE_DATE_EPOCH", "1600000000")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        package_of(&fs::read(folder.path().join("x.deb")).unwrap(), store)
    }
}

/// Puts a `.deb` into the store and says what it is.
fn package_of(deb: &[u8], store: &Store) -> RootPackage {
    let (control, _) = package::open(deb).unwrap();
    let (size, sha256) = (deb.len() as u64, Sha256::of(deb));
    let package = BinaryPackage::from_control(control.paragraph(), "x.deb", size, sha256).unwrap();
    RootPackage { package: Arc::new(package), object: store.put(deb).unwrap() }
}

fn without(all: &[RootPackage], base: &[RootPackage]) -> Vec<RootPackage> {
    let in_base = |name| base.iter().any(|package| &package.package.name == name);
    all.iter().filter(|package| !in_base(&package.package.name)).cloned().collect()
}

/// A store of our own and the native executor.
struct Ours {
    store: Store,
    native: Native,
    _folder: tempfile::TempDir,
}

impl Ours {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Store::open(&HostPath::new(folder.path().join("store"))).unwrap();
        let native = Native::new(HostPath::new(env!("CARGO_BIN_EXE_perestroika")));
        Self { store, native, _folder: folder }
    }

    fn try_provide(&self, base: &[RootPackage], rest: &[RootPackage]) -> Result<BuildRoot, Error> {
        self.try_layers(&[base.to_vec(), rest.to_vec()])
    }

    fn try_layers(&self, layers: &[Vec<RootPackage>]) -> Result<BuildRoot, Error> {
        let never = AtomicBool::new(false);
        buildroot::provide(&self.store, &self.native, layers, &never, &|_| {})
    }

    fn provide(&self, base: &[RootPackage], rest: &[RootPackage]) -> BuildRoot {
        match self.try_provide(base, rest) {
            Ok(root) => root,
            Err(Error::Configure { verdict, log }) => panic!("{verdict}\n{log}"),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn manifest(&self, digest: &Digest) -> Manifest {
        Manifest::from_json(&self.store.json(digest).unwrap().unwrap()).unwrap()
    }
}

/// What apt made: every path with its mode and content, and the packages it was made of.
struct Reference {
    paths: BTreeMap<String, (u32, Content)>,
    packages: Vec<RootPackage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    File(Digest, Vec<u8>),
    Link(String),
    Other,
}

impl Reference {
    fn read(tar: &Path, store: &Store) -> Self {
        let mut archive = tar::Archive::new(std::io::BufReader::new(File::open(tar).unwrap()));
        let mut paths: BTreeMap<String, (u32, Content)> = BTreeMap::new();
        let mut packages = Vec::new();
        let plain = |path: &Path| {
            let text = path.to_str().unwrap().trim_start_matches("./").trim_end_matches('/');
            text.to_owned()
        };
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = plain(&entry.path().unwrap());
            let mode = entry.header().mode().unwrap() & 0o7777;
            let target =
                |entry: &tar::Entry<'_, _>| entry.link_name().unwrap().unwrap().into_owned();
            let content = match entry.header().entry_type() {
                tar::EntryType::Directory => Content::Folder,
                tar::EntryType::Symlink => Content::Link(target(&entry).to_str().unwrap().into()),
                tar::EntryType::Link => paths[&plain(&target(&entry))].1.clone(),
                tar::EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).unwrap();
                    if path.starts_with("var/cache/apt/archives/") && path.ends_with(".deb") {
                        packages.push(package_of(&bytes, store));
                    }
                    let wanted = OTHER_CONTENT.iter().any(|(known, ..)| *known == path);
                    Content::File(Digest::of(&bytes), if wanted { bytes } else { Vec::new() })
                }
                _ => Content::Other,
            };
            if !path.is_empty() && path != "." {
                paths.insert(path, (mode, content));
            }
        }
        assert!(packages.len() > 100, "{} packages", packages.len());
        Self { paths, packages }
    }
}

/// Fails on every difference that has no exception.
fn compare(
    name: &str,
    ours: &Ours,
    root: &BuildRoot,
    reference: &Reference,
    met: &mut BTreeSet<&'static str>,
) {
    let manifests = root.manifests.iter().map(|digest| ours.manifest(digest));
    let seen = manifests.fold(Manifest::default(), Manifest::under);
    let paths: BTreeSet<&String> = seen.entries.keys().chain(reference.paths.keys()).collect();
    let mut differences = Vec::new();
    for path in paths {
        if LOGS.iter().any(|pattern| matches(pattern, path)) {
            continue;
        }
        let (here, there) = (seen.entries.get(path), reference.paths.get(path));
        let (Some(here), Some((mode, content))) = (here, there) else {
            match ONE_SIDED.iter().find(|(pattern, _)| matches(pattern, path)) {
                Some((pattern, _)) => drop(met.insert(pattern)),
                None => differences.push(format!("{path}: ours {here:?}, apt's {there:?}")),
            }
            continue;
        };
        let same = match (&here.kind, content) {
            (EntryKind::Directory, Content::Folder) => here.mode == *mode,
            (EntryKind::Link(target), Content::Link(other)) => target == other,
            (EntryKind::File { blake3, .. }, Content::File(other, _)) => {
                blake3 == other && here.mode == *mode
            }
            _ => false,
        };
        if same {
            continue;
        }
        let exception = OTHER_CONTENT.iter().find(|(known, ..)| known == path);
        let excused = exception.is_some_and(|(known, sameness, _)| {
            met.insert(known);
            let mine = root.layers.iter().rev().find_map(|layer| fs::read(layer.join(path)).ok());
            let Content::File(_, other) = content else { return false };
            alike(*sameness, &mine.unwrap_or_default(), other)
        });
        if !excused {
            differences.push(format!("{path}: ours {here:?}, apt's {mode:o} {content:?}"));
        }
    }
    let mut text = differences.join("\n");
    text.truncate(20_000);
    assert!(differences.is_empty(), "{name}: {} differences\n{text}", differences.len());
}

/// Whether a path is meant by a pattern with at most one `*`, which stands for anything.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            path.len() >= start.len() + end.len() && path.starts_with(start) && path.ends_with(end)
        }
        None => pattern == path,
    }
}

fn alike(sameness: Sameness, one: &[u8], other: &[u8]) -> bool {
    let parts = |bytes: &[u8]| {
        let mut parts: Vec<String> = String::from_utf8_lossy(bytes)
            .lines()
            .map(|line| match sameness {
                Sameness::Names => line.split(':').next().unwrap_or_default().to_owned(),
                _ => line.to_owned(),
            })
            .collect();
        parts.sort();
        parts
    };
    sameness == Sameness::Any || parts(one) == parts(other)
}

/// The root that mmdebstrap makes of the essential packages and `extra`, as a tar, with the
/// package files in apt's cache. Made once, whichever process comes first.
fn reference(name: &str, extra: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("reference-{SUITE}-{name}.tar"));
    let lock = File::create(folder.join(format!("reference-{SUITE}-{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if file.exists() {
        return file;
    }
    let part = folder.join(format!("reference-{SUITE}-{name}.part"));
    let output = Command::new("mmdebstrap")
        .args(["--variant=essential", "--format=tar", "--quiet"])
        .args(["--skip=essential/unlink,cleanup/apt/cache", &format!("--include={extra}")])
        .args([SUITE, part.to_str().unwrap(), &mirror()])
        .output()
        .expect("mmdebstrap is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(part, &file).unwrap();
    file
}

/// Where this host's apt gets the suite from.
fn mirror() -> String {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(SITE)", "Created-By: Packages"])
        .args([&format!("Codename: {SUITE}"), "Component: main"])
        .output()
        .expect("apt-get is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().next().expect("apt knows the suite").to_owned()
}
