//! Derivations: the recipe of each node as canonical JSON, whose BLAKE3 is its id.
//!
//! The encoders take every struct apart without `..`: a new field forces the decision whether it
//! is part of the identity. Nothing that depends on a machine, a mirror, a moment or a place in a
//! file has a field here.

use std::collections::BTreeMap;

use crate::base::{Architecture, DerivationId, Digest, Format, Json, Members, PackageName, Sha256};

const FORMAT: &str = "perestroika/derivation/1";

/// A node's recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derivation {
    /// Pinned bytes and how they are unpacked.
    Source(Source),
    /// A chroot snapshot.
    Root(Root),
    /// A source package, built for one architecture.
    Package(Box<Package>),
    /// The whole release.
    Release(Release),
}

/// Pinned bytes and how they are unpacked. Its id is content alone: two packages of one source
/// share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder, copied as it is.
    Tree {
        /// Digest of its [`crate::base::Tree`].
        tree: Digest,
    },
    /// A tarball or zip file, unpacked by this program: a single folder at its top is left out,
    /// and of modes only the executable bit is kept.
    Tarball {
        /// How it is packed.
        format: Format,
        /// Its size in bytes.
        size: u64,
        /// Its digest.
        sha256: Sha256,
    },
    /// A single file.
    File(SourceFile),
    /// A Debian source package, unpacked by `dpkg-source` in the build root.
    Debian {
        /// The file that names the others.
        dsc: String,
        /// All files, the `.dsc` among them, sorted by name.
        files: Vec<SourceFile>,
    },
}

/// A file of a Debian source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest, as the archive states it.
    pub sha256: Sha256,
}

/// A chroot snapshot: what the base of a build root is solved from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The architecture of its packages.
    pub architecture: Architecture,
    /// The binary package indexes, in order of preference.
    pub indexes: Vec<RootIndex>,
    /// Packages beside the essential ones, sorted.
    pub packages: Vec<PackageName>,
    /// Sets of dependencies that are layers of their own, in their order; part of the document
    /// only if there are any.
    pub strata: Vec<Vec<String>>,
    /// Digest of the list of packages that are preferred to those of the indexes; part of the
    /// document only if there is one: in the rounds after the first.
    pub seed: Option<Digest>,
}

/// A pinned index of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootIndex {
    /// The suite it belongs to.
    pub suite: String,
    /// Its path below the suite.
    pub path: String,
    /// Digest of its uncompressed bytes.
    pub sha256: Sha256,
}

/// A source package, built for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: PackageName,
    /// The version it will have.
    pub version: String,
    /// The architecture it is built for.
    pub architecture: Architecture,
    /// What is built.
    pub source: DerivationId,
    /// The source whose `debian/` folder takes the place of its own; part of the document only
    /// if there is one.
    pub packaging: Option<DerivationId>,
    /// Patches in the order they are applied; part of the document only if there are any.
    pub patches: Vec<Patch>,
    /// Sources put into its folder, by path there.
    pub extra: BTreeMap<String, DerivationId>,
    /// What it is built in.
    pub root: DerivationId,
    /// The packages of the release that its build dependencies lead to, sorted by id.
    pub dependencies: Vec<DerivationId>,
    /// Build dependencies, reduced to the architecture and profiles.
    pub build_depends: Vec<String>,
    /// Build conflicts, reduced likewise.
    pub build_conflicts: Vec<String>,
    /// The binary packages it must produce, sorted.
    pub binaries: Vec<PackageName>,
    /// Files put into the source folder, by path.
    pub files: BTreeMap<String, String>,
    /// Text put before the source's `debian/changelog`; empty for none.
    pub changelog: String,
    /// The shell script that builds.
    pub script: String,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Active build profiles, sorted.
    pub profiles: Vec<String>,
    /// Patterns of the files it leaves.
    pub outputs: Vec<String>,
    /// Names taken from the seed although the release builds them, sorted.
    pub from_seed: Vec<PackageName>,
    /// The seed of its root.
    pub seed: Option<Digest>,
}

/// A patch of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Its name, unique in its package.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// What it changes.
    pub to: Patched,
}

/// What a patch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patched {
    /// The source, outside of `debian/`.
    Source,
    /// Files below `debian/`.
    Packaging,
}

/// The whole release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The namespace of a customer; empty for none.
    pub customer: String,
    /// Its packages, sorted by id.
    pub packages: Vec<DerivationId>,
}

impl Derivation {
    /// The package, if it is one.
    pub fn package(&self) -> Option<&Package> {
        match self {
            Self::Package(package) => Some(package),
            Self::Source(_) | Self::Root(_) | Self::Release(_) => None,
        }
    }

    /// The canonical JSON document.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Source(source) => source.to_json(),
            Self::Root(root) => root.to_json(),
            Self::Package(package) => {
                Json::read_canonical(&package.encode()).expect("what is written can be read")
            }
            Self::Release(release) => release.to_json(),
        }
    }

    /// The bytes of the document.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Package(package) => package.encode(),
            Self::Source(_) | Self::Root(_) | Self::Release(_) => self.to_json().encode(),
        }
    }

    /// The id: BLAKE3 of the document's bytes.
    pub fn id(&self) -> DerivationId {
        DerivationId::of(&self.encode())
    }
}

impl Source {
    fn to_json(&self) -> Json {
        match self {
            Self::Tree { tree } => Json::object([
                ("format", FORMAT.into()),
                ("kind", "source".into()),
                ("unpack", "tree".into()),
                ("tree", Json::text(tree)),
            ]),
            Self::Tarball { format, size, sha256 } => Json::object([
                ("format", FORMAT.into()),
                ("kind", "source".into()),
                ("unpack", "tarball".into()),
                ("packed", format.as_str().into()),
                ("size", self::size(*size)),
                ("sha256", Json::text(sha256)),
            ]),
            Self::File(SourceFile { name, size, sha256 }) => Json::object([
                ("format", FORMAT.into()),
                ("kind", "source".into()),
                ("unpack", "file".into()),
                ("name", name.into()),
                ("size", self::size(*size)),
                ("sha256", Json::text(sha256)),
            ]),
            Self::Debian { dsc, files } => Json::object([
                ("format", FORMAT.into()),
                ("kind", "source".into()),
                ("unpack", "dpkg-source".into()),
                ("dsc", dsc.into()),
                ("files", Json::Array(files.iter().map(SourceFile::to_json).collect())),
            ]),
        }
    }
}

impl SourceFile {
    fn to_json(&self) -> Json {
        let Self { name, size, sha256 } = self;
        Json::object([
            ("name", name.into()),
            ("size", self::size(*size)),
            ("sha256", Json::text(sha256)),
        ])
    }
}

impl Root {
    fn to_json(&self) -> Json {
        let Self { architecture, indexes, packages, strata, seed } = self;
        let index = |RootIndex { suite, path, sha256 }: &RootIndex| {
            Json::object([
                ("suite", suite.into()),
                ("path", path.into()),
                ("sha256", Json::text(sha256)),
            ])
        };
        let mut document = vec![
            ("format", FORMAT.into()),
            ("kind", "root".into()),
            ("architecture", Json::text(architecture)),
            ("indexes", Json::Array(indexes.iter().map(index).collect())),
            ("packages", texts(packages)),
        ];
        // Left out where there is none, as it was before there could be any.
        if !strata.is_empty() {
            let strata = strata.iter().map(|stratum| texts(stratum)).collect();
            document.push(("strata", Json::Array(strata)));
        }
        document.extend(seed.as_ref().map(|seed| ("seed", Json::text(seed))));
        Json::object(document)
    }
}

impl Package {
    fn encode(&self) -> Vec<u8> {
        let Self {
            name,
            version,
            architecture,
            source,
            packaging,
            patches,
            extra,
            root,
            dependencies,
            build_depends,
            build_conflicts,
            binaries,
            files,
            changelog,
            script,
            environment,
            profiles,
            outputs,
            from_seed,
            seed,
        } = self;
        let room = files.values().map(|text| text.len() + text.len() / 16).sum::<usize>();
        let mut members = Members::new(room + script.len() + changelog.len() + 2048);
        members.text("architecture", architecture.as_str());
        members.texts("binaries", binaries);
        members.texts("build_conflicts", build_conflicts);
        members.texts("build_depends", build_depends);
        members.text("changelog", changelog);
        members.texts("dependencies", dependencies.iter().map(DerivationId::to_string));
        members.map("environment", environment);
        // Left out where there is none, as it was before there could be any.
        if !extra.is_empty() {
            let extra = extra.iter().map(|(path, id)| (path.clone(), id.to_string())).collect();
            members.map("extra", &extra);
        }
        members.map("files", files);
        members.text("format", FORMAT);
        members.texts("from_seed", from_seed);
        members.text("kind", "package");
        members.text("name", name.as_str());
        members.texts("outputs", outputs);
        if let Some(packaging) = packaging {
            members.text("packaging", &packaging.to_string());
        }
        if !patches.is_empty() {
            members.value("patches", &Json::Array(patches.iter().map(Patch::to_json).collect()));
        }
        members.texts("profiles", profiles);
        members.text("root", &root.to_string());
        members.text("script", script);
        if let Some(seed) = seed {
            members.text("seed", &seed.to_string());
        }
        members.text("source", &source.to_string());
        members.text("version", version);
        members.end()
    }
}

impl Patch {
    /// As part of a derivation or an action.
    pub fn to_json(&self) -> Json {
        let Self { name, digest, to } = self;
        let to = match to {
            Patched::Source => "source",
            Patched::Packaging => "packaging",
        };
        Json::object([("name", name.into()), ("blake3", Json::text(digest)), ("to", to.into())])
    }
}

impl Release {
    fn to_json(&self) -> Json {
        let Self { name, version, customer, packages } = self;
        Json::object([
            ("format", FORMAT.into()),
            ("kind", "release".into()),
            ("name", name.into()),
            ("version", version.into()),
            ("customer", customer.into()),
            ("packages", texts(packages)),
        ])
    }
}

fn size(bytes: u64) -> Json {
    Json::Integer(i64::try_from(bytes).expect("the lock caps file sizes"))
}

fn texts<T: std::fmt::Display>(items: &[T]) -> Json {
    Json::Array(items.iter().map(Json::text).collect())
}
