//! An in-toto Statement v1 with SLSA provenance v1: what was built, from what, by whom. Signed by
//! the builder key it is a builder's word for what an action came to.
//!
//! The type of such builds is [`BUILD_TYPE`]. Its external parameters are the action (the BLAKE3 of
//! the document that states everything that went in, which is a dependency too) and what of it is
//! worth reading; the internal ones are the versions of what puts roots together and of what a
//! guest sees, how many packages each layer of the build root has, the isolation that was in force,
//! and circumstances that may not matter. The dependencies are, by the annotation `role`, the
//! `action`, the `source`, its `packaging`, `extra` sources, each `patch`, and each package of the
//! `build-root`, in the order in which the action lists them. In place of SHA-256 some things have
//! the digest `blake3`, which names what is in the store.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::purl::purl;
use super::{Build, times, tool};
use crate::base::{ActionId, DerivationId, Digest, Json, Sha256};
use crate::realise::action::{self, Listed};
use crate::realise::record::Record;

/// What a build is, as a URI.
pub const BUILD_TYPE: &str = "urn:perestroika:build:1";
/// What the name of a builder begins with: the name of its key follows.
const BUILDER: &str = "urn:perestroika:builder:ed25519:";
/// The type of the statement's envelope (in-toto, `spec/v1/envelope.md`).
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// The statement of a build, made by the builder whose key has this name.
pub fn statement(build: &Build<'_>, builder: &Sha256) -> Json {
    let Build { package, record, digest, action, root, own, vendor } = build;
    let uri = |one: &Listed| {
        let Listed { name, version, architecture, sha256 } = one;
        (!own.contains(sha256)).then(|| purl(vendor, name, version, architecture))
    };
    let (name, architecture) = (package.name.as_str(), package.architecture.as_str());
    let version = package.version.as_str();
    let told = Told { name, version, architecture, record, digest, action, root, uri: &uri };
    told.statement(builder)
}

/// The same of a record and its action alone, without the release that they are of: who distributes
/// the packages of the build root is not told. None if the action is none of a package.
pub fn of_record(
    record: &Record,
    digest: &Digest,
    action: &Json,
    builder: &Sha256,
) -> Option<Json> {
    let told = Told {
        name: text(action, "name")?,
        version: text(action, "version")?,
        architecture: text(action, "architecture")?,
        record,
        digest,
        action,
        root: &action::root(action.clone())?,
        uri: &|_| None,
    };
    Some(told.statement(builder))
}

/// What a statement is made of.
struct Told<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
    record: &'a Record,
    digest: &'a Digest,
    action: &'a Json,
    root: &'a [Vec<Listed>],
    /// What others call a package of the build root, where that is known.
    uri: &'a dyn Fn(&Listed) -> Option<String>,
}

impl Told<'_> {
    fn statement(&self, builder: &Sha256) -> Json {
        let subject = self.record.outputs.iter().map(|output| {
            Json::object([
                ("name", (&output.file).into()),
                ("digest", digests(Some(&output.sha256), Some(&output.blake3))),
            ])
        });
        Json::object([
            ("_type", STATEMENT.into()),
            ("subject", Json::Array(subject.collect())),
            ("predicateType", PREDICATE.into()),
            (
                "predicate",
                Json::object([
                    ("buildDefinition", self.definition()),
                    ("runDetails", self.details(builder)),
                ]),
            ),
        ])
    }

    fn definition(&self) -> Json {
        let Self { name, version, architecture, record, action, root, .. } = *self;
        let of_action = |key: &str| member(action, key).cloned().unwrap_or_else(|| "".into());
        let external = Json::object([
            ("action", Json::text(record.action)),
            ("derivation", Json::text(record.derivation)),
            ("name", name.into()),
            ("version", version.into()),
            ("architecture", architecture.into()),
            ("profiles", of_action("profiles")),
            ("environment", of_action("environment")),
        ]);
        let size = |layer: &Vec<Listed>| Json::Integer(i64::try_from(layer.len()).unwrap_or(0));
        let internal = Json::object([
            ("assembly", of_action("assembly")),
            ("contract", of_action("contract")),
            ("root", Json::Array(root.iter().map(size).collect())),
            ("isolation", texts(&record.receipt)),
            ("circumstances", texts(&record.circumstances)),
        ]);
        let mut dependencies =
            vec![dependency("action", "action", None, Some(&record.action.digest()))];
        dependencies.extend(sources(action));
        dependencies.extend(root.iter().flatten().map(|one| self.listed(one)));
        Json::object([
            ("buildType", BUILD_TYPE.into()),
            ("externalParameters", external),
            ("internalParameters", internal),
            ("resolvedDependencies", Json::Array(dependencies)),
        ])
    }

    fn details(&self, builder: &Sha256) -> Json {
        let Record { layers, log, trace, .. } = self.record;
        let mut names = vec![("record", *self.digest), ("log", *log)];
        names.extend(layers.iter().map(|layer| ("layer", *layer)));
        names.extend(trace.iter().map(|trace| ("trace", trace.document)));
        let byproducts = names.iter().map(|(name, digest)| {
            Json::object([("name", (*name).into()), ("digest", digests(None, Some(digest)))])
        });
        let mut who = vec![("id", Json::String(format!("{BUILDER}{builder}")))];
        let version = |tool: &str| ("version", Json::object([("perestroika", tool.into())]));
        who.extend(tool(self.record).map(version));
        let (began, ended) = times(self.record);
        Json::object([
            ("builder", Json::object(who)),
            (
                "metadata",
                Json::object([
                    ("invocationId", Json::text(self.digest)),
                    ("startedOn", Json::text(began)),
                    ("finishedOn", Json::text(ended)),
                ]),
            ),
            ("byproducts", Json::Array(byproducts.collect())),
        ])
    }

    /// A package of the build root. Who distributes it is known of the archive's.
    fn listed(&self, one: &Listed) -> Json {
        let Listed { name, version, architecture, sha256 } = one;
        let mut members = vec![
            ("name", name.into()),
            ("digest", digests(Some(sha256), None)),
            (
                "annotations",
                Json::object([
                    ("role", "build-root".into()),
                    ("version", version.into()),
                    ("architecture", architecture.into()),
                ]),
            ),
        ];
        members.extend((self.uri)(one).map(|uri| ("uri", uri.into())));
        Json::object(members)
    }
}

/// The sources that an action names.
fn sources(action: &Json) -> Vec<Json> {
    let mut found = Vec::new();
    for role in ["source", "packaging"] {
        if let Some(source) = member(action, role) {
            content(&mut found, role, role, source);
        }
    }
    if let Some(Json::Object(extra)) = member(action, "extra") {
        extra.iter().for_each(|(path, source)| content(&mut found, "extra", path, source));
    }
    if let Some(Json::Array(patches)) = member(action, "patches") {
        found.extend(patches.iter().filter_map(|patch| {
            let digest = text(patch, "blake3")?.parse().ok()?;
            Some(dependency("patch", text(patch, "name")?, None, Some(&digest)))
        }));
    }
    found
}

/// What an action says of a source, as [`crate::realise::action`] writes it.
fn content(found: &mut Vec<Json>, role: &str, name: &str, source: &Json) {
    let sha256 = |of: &Json| text(of, "sha256").and_then(|digest| digest.parse().ok());
    if let Some(tree) = text(source, "tree").and_then(|tree| tree.parse().ok()) {
        found.push(dependency(role, name, None, Some(&tree)));
    } else if let Some(Json::Array(files)) = member(source, "files") {
        found.extend(files.iter().filter_map(|file| {
            Some(dependency(role, text(file, "name")?, Some(&sha256(file)?), None))
        }));
    } else if let Some(sha256) = sha256(source) {
        let name = text(source, "file").unwrap_or(name);
        found.push(dependency(role, name, Some(&sha256), None));
    }
}

fn dependency(role: &str, name: &str, sha256: Option<&Sha256>, blake3: Option<&Digest>) -> Json {
    Json::object([
        ("name", name.into()),
        ("digest", digests(sha256, blake3)),
        ("annotations", Json::object([("role", role.into())])),
    ])
}

fn digests(sha256: Option<&Sha256>, blake3: Option<&Digest>) -> Json {
    let sha256 = sha256.map(|sha256| ("sha256", Json::text(sha256)));
    Json::object(sha256.into_iter().chain(blake3.map(|blake3| ("blake3", Json::text(blake3)))))
}

pub(super) fn member<'a>(document: &'a Json, key: &str) -> Option<&'a Json> {
    match document {
        Json::Object(members) => members.get(key),
        _ => None,
    }
}

pub(super) fn text<'a>(document: &'a Json, key: &str) -> Option<&'a str> {
    match member(document, key) {
        Some(Json::String(text)) => Some(text),
        _ => None,
    }
}

fn texts(members: &BTreeMap<String, String>) -> Json {
    Json::Object(members.iter().map(|(key, value)| (key.clone(), value.into())).collect())
}

/// A builder's word for what an action came to, as read from a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// Who says so: the name of a key.
    pub builder: Sha256,
    /// The action.
    pub action: ActionId,
    /// The derivation that it was done for first.
    pub derivation: DerivationId,
    /// The source package that it builds.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The architecture it is built for.
    pub architecture: String,
    /// The packages of the build root, layer by layer, the lowest first.
    pub root: Vec<Vec<Listed>>,
    /// The files that it came to, by name.
    pub outputs: BTreeMap<String, Made>,
}

/// A file that was built, by both digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Made {
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its BLAKE3.
    pub blake3: Digest,
}

/// Why a statement says nothing of a build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no statement with provenance of a build of this kind.
    #[error("it is no provenance as this program writes it")]
    Members(#[from] serde_json::Error),
    /// It is of another type.
    #[error("its {what} is `{found}`, not `{wanted}`")]
    Type {
        /// Which type.
        what: &'static str,
        /// What it says.
        found: String,
        /// What it should.
        wanted: &'static str,
    },
    /// Its builder is named by no key.
    #[error("its builder `{0}` is named by no key")]
    Builder(String),
    /// It names no file.
    #[error("it has no output")]
    Empty,
    /// It names a file as no file is named.
    #[error("the name of one of its outputs is none of a file")]
    Name,
    /// It names a file twice.
    #[error("it names the output `{0}` twice")]
    Twice(String),
    /// What it says of the build root does not add up.
    #[error("its build root has {listed} packages, its layers {said}")]
    Root {
        /// How many it lists.
        listed: usize,
        /// How many it says that the layers have.
        said: usize,
    },
    /// A package of the build root lacks something.
    #[error("of package `{0}` of its build root it does not say version, architecture and SHA-256")]
    Package(String),
}

impl Word {
    /// What a record says that this builder signed, with the action that it is of; nothing if that
    /// is none of a package.
    pub fn of_record(record: &Record, action: &Json, builder: Sha256) -> Option<Self> {
        let text = |key| text(action, key).map(str::to_owned);
        let outputs = record.outputs.iter().map(|output| {
            (output.file.clone(), Made { sha256: output.sha256, blake3: output.blake3 })
        });
        Some(Self {
            builder,
            action: record.action,
            derivation: record.derivation,
            name: text("name")?,
            version: text("version")?,
            architecture: text("architecture")?,
            root: action::root(action.clone())?,
            outputs: outputs.collect(),
        })
    }

    /// Reads a statement. Members that its formats do not have are ignored, as they demand, but for
    /// parameters.
    ///
    /// # Errors
    /// What is no such statement, or contradicts itself.
    pub fn read(payload: &[u8]) -> Result<Self, Error> {
        let Written { kind, subject, predicate_type, predicate } = serde_json::from_slice(payload)?;
        is("statement's type", kind, STATEMENT)?;
        is("predicate's type", predicate_type, PREDICATE)?;
        let Definition { build_type, external, internal, dependencies } = predicate.definition;
        is("build's type", build_type, BUILD_TYPE)?;
        let builder = predicate.details.builder.id;
        let builder = match builder.strip_prefix(BUILDER).and_then(|key| key.parse().ok()) {
            Some(key) => key,
            None => return Err(Error::Builder(builder)),
        };
        if subject.is_empty() {
            return Err(Error::Empty);
        }
        let mut outputs = BTreeMap::new();
        for Subject { name, digest } in subject {
            let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
            if !plain || name.is_empty() || name.len() > 255 {
                return Err(Error::Name);
            }
            if outputs.insert(name.clone(), digest).is_some() {
                return Err(Error::Twice(name));
            }
        }
        Ok(Self {
            builder,
            action: external.action,
            derivation: external.derivation,
            name: external.name,
            version: external.version,
            architecture: external.architecture,
            root: layers(dependencies, &internal.root)?,
            outputs,
        })
    }
}

fn is(what: &'static str, found: String, wanted: &'static str) -> Result<(), Error> {
    if found == wanted { Ok(()) } else { Err(Error::Type { what, found, wanted }) }
}

/// The packages of the build root among what was depended on, in layers of these sizes.
fn layers(dependencies: Vec<Dependency>, sizes: &[usize]) -> Result<Vec<Vec<Listed>>, Error> {
    let of_root = dependencies.into_iter().filter(|one| one.annotations.role == "build-root");
    let packages: Vec<Listed> = of_root.map(Dependency::listed).collect::<Result<_, _>>()?;
    let said = sizes.iter().fold(0_usize, |sum, size| sum.saturating_add(*size));
    if said != packages.len() {
        return Err(Error::Root { listed: packages.len(), said });
    }
    let mut packages = packages.into_iter();
    Ok(sizes.iter().map(|size| packages.by_ref().take(*size).collect()).collect())
}

impl Dependency {
    fn listed(self) -> Result<Listed, Error> {
        let Annotations { role: _, version, architecture } = self.annotations;
        match (version, architecture, self.digest.sha256) {
            (Some(version), Some(architecture), Some(sha256)) => {
                Ok(Listed { name: self.name, version, architecture, sha256 })
            }
            _ => Err(Error::Package(self.name)),
        }
    }
}

/// What is read of a statement.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Made,
}

#[derive(Deserialize)]
struct Predicate {
    #[serde(rename = "buildDefinition")]
    definition: Definition,
    #[serde(rename = "runDetails")]
    details: Details,
}

#[derive(Deserialize)]
struct Definition {
    #[serde(rename = "buildType")]
    build_type: String,
    #[serde(rename = "externalParameters")]
    external: External,
    #[serde(rename = "internalParameters")]
    internal: Internal,
    #[serde(rename = "resolvedDependencies")]
    dependencies: Vec<Dependency>,
}

/// All of them: what has another parameter is another kind of build.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct External {
    action: ActionId,
    derivation: DerivationId,
    name: String,
    version: String,
    architecture: String,
    #[serde(rename = "profiles")]
    _profiles: Vec<String>,
    #[serde(rename = "environment")]
    _environment: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Internal {
    root: Vec<usize>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    digest: Named,
    annotations: Annotations,
}

#[derive(Deserialize)]
struct Named {
    sha256: Option<Sha256>,
}

#[derive(Deserialize)]
struct Annotations {
    role: String,
    version: Option<String>,
    architecture: Option<String>,
}

#[derive(Deserialize)]
struct Details {
    builder: Builder,
}

#[derive(Deserialize)]
struct Builder {
    id: String,
}
