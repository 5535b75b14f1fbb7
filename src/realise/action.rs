//! Actions: everything that goes into one build, nothing that does not.
//!
//! The document is the package's derivation in which the source reference became its content and
//! the root, the dependencies and the build dependencies vanished into the exact ordered list of
//! packages of the build root. So when a dependency is rebuilt to identical bytes, the action
//! stays the same, and nothing is built again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::script;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{ActionId, DerivationId, Json, Sha256};
use crate::graph::Graph;
use crate::graph::derivation::{Derivation, Package, Patch, Source, SourceFile};

const FORMAT: &str = "perestroika/action/1";

/// The content of a package's sources.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The one that is built.
    pub own: &'a Source,
    /// The one whose `debian/` folder is laid over it.
    pub packaging: Option<&'a Source>,
    /// Others, by the path they are put at.
    pub extra: BTreeMap<&'a str, &'a Source>,
}

impl<'a> Sources<'a> {
    /// Those of a package of this graph.
    pub fn of(graph: &'a Graph, package: &'a Package) -> Self {
        let source = |id: DerivationId| match graph.node(id).map(|node| &node.derivation) {
            Some(Derivation::Source(source)) => source,
            _ => unreachable!("a package's source is a source of its graph"),
        };
        let extra = package.extra.iter();
        Self {
            own: source(package.source),
            packaging: package.packaging.map(source),
            extra: extra.map(|(path, id)| (path.as_str(), source(*id))).collect(),
        }
    }
}

/// A binary package, as an action lists it in the root of its build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture: a name, or `all`.
    pub architecture: String,
    /// Digest of the `.deb`.
    pub sha256: Sha256,
}

impl Listed {
    /// As an action lists this package.
    pub fn of(package: &BinaryPackage) -> Self {
        Self {
            name: package.name.to_string(),
            version: package.version.to_string(),
            architecture: package.architecture.to_string(),
            sha256: package.sha256,
        }
    }

    /// As part of an action, of a manifest, of a certificate.
    pub fn to_json(&self) -> Json {
        let Self { name, version, architecture, sha256 } = self;
        Json::object([
            ("name", name.into()),
            ("version", version.into()),
            ("architecture", architecture.into()),
            ("sha256", Json::text(sha256)),
        ])
    }

    /// The package that a document lists; nothing if it has other members.
    pub fn from_json(package: Json) -> Option<Self> {
        let Json::Object(mut members) = package else { return None };
        let mut text = |key: &str| match members.remove(key) {
            Some(Json::String(text)) => Some(text),
            _ => None,
        };
        let (name, version) = (text("name")?, text("version")?);
        let (architecture, sha256) = (text("architecture")?, text("sha256")?.parse().ok()?);
        members.is_empty().then_some(Self { name, version, architecture, sha256 })
    }
}

/// The packages of the build root that an action document lists, layer by layer, the lowest
/// first; nothing if it is none.
pub fn root(document: Json) -> Option<Vec<Vec<Listed>>> {
    let Json::Object(mut members) = document else { return None };
    let Some(Json::Array(layers)) = members.remove("root") else { return None };
    let layer = |layer| match layer {
        Json::Array(packages) => packages.into_iter().map(Listed::from_json).collect(),
        _ => None,
    };
    layers.into_iter().map(layer).collect()
}

/// Whether an action document is that of building this package, whatever its root holds.
pub fn is_of(graph: &Graph, package: &Package, document: &Json) -> bool {
    let beside_root = |document: &Json| match document {
        Json::Object(members) => {
            let members = members.iter().filter(|(key, _)| *key != "root");
            members.map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        _ => BTreeMap::new(),
    };
    beside_root(document) == beside_root(Action::of(graph, package, &[]).document())
}

/// The id of building this package in a root of exactly these layers, lowest first.
pub fn id_in(graph: &Graph, package: &Package, layers: &[Vec<Listed>]) -> ActionId {
    let layers = layers.iter().map(|layer| layer.iter().map(Listed::to_json).collect());
    let Json::Object(mut members) = Action::of(graph, package, &[]).document else {
        unreachable!("an action is an object")
    };
    members.insert("root".to_owned(), Json::Array(layers.map(Json::Array).collect()));
    ActionId::of(&Json::Object(members).encode())
}

/// One build, stated completely.
#[derive(Debug)]
pub struct Action {
    document: Json,
    id: ActionId,
}

impl Action {
    /// Building a package of this graph in a root of exactly these layers, lowest first.
    pub fn of(graph: &Graph, package: &Package, layers: &[&[Arc<BinaryPackage>]]) -> Self {
        let sources = Sources::of(graph, package);
        Self::new(package, &sources, &script::script(package, &sources), layers)
    }

    /// Building `package` from its sources by this whole script, in a root of exactly these layers,
    /// lowest first, each a list in its canonical order.
    pub fn new(
        package: &Package,
        sources: &Sources<'_>,
        script: &str,
        layers: &[&[Arc<BinaryPackage>]],
    ) -> Self {
        let Package {
            name,
            version,
            architecture,
            source: _,
            packaging: _,
            patches,
            extra: _,
            root: _,
            dependencies: _,
            build_depends: _,
            build_conflicts: _,
            binaries,
            files,
            changelog,
            script: _,
            environment,
            profiles,
            outputs,
            from_seed: _,
            seed: _,
        } = package;
        let map = |members: &BTreeMap<String, String>| {
            Json::Object(members.iter().map(|(key, value)| (key.clone(), value.into())).collect())
        };
        let layers = layers
            .iter()
            .map(|layer| layer.iter().map(|package| Listed::of(package).to_json()).collect())
            .map(Json::Array)
            .collect();
        let mut members = vec![
            ("format", FORMAT.into()),
            ("kind", "package".into()),
            ("assembly", super::buildroot::ASSEMBLY.into()),
            ("contract", crate::sandbox::CONTRACT.into()),
            ("name", Json::text(name)),
            ("version", version.into()),
            ("architecture", Json::text(architecture)),
            ("source", content(sources.own)),
            ("root", Json::Array(layers)),
            ("binaries", Json::Array(binaries.iter().map(Json::text).collect())),
            ("files", map(files)),
            ("changelog", changelog.into()),
            ("script", script.into()),
            ("environment", map(environment)),
            ("profiles", Json::array(profiles)),
            ("outputs", Json::array(outputs)),
        ];
        // Left out where there is none, as it was before there could be any.
        let Sources { own: _, packaging, extra } = sources;
        members.extend(packaging.map(|packaging| ("packaging", content(packaging))));
        if !patches.is_empty() {
            members.push(("patches", Json::Array(patches.iter().map(Patch::to_json).collect())));
        }
        if !extra.is_empty() {
            let extra = extra.iter().map(|(path, source)| ((*path).to_owned(), content(source)));
            members.push(("extra", Json::Object(extra.collect())));
        }
        let document = Json::object(members);
        let id = ActionId::of(&document.encode());
        Self { document, id }
    }

    /// Its name: BLAKE3 of its document.
    pub fn id(&self) -> ActionId {
        self.id
    }

    /// The canonical JSON document.
    pub fn document(&self) -> &Json {
        &self.document
    }
}

fn content(source: &Source) -> Json {
    match source {
        Source::Tree { tree } => Json::object([("tree", Json::text(tree))]),
        Source::Tarball { format, size: _, sha256 } => {
            Json::object([("tarball", format.as_str().into()), ("sha256", Json::text(sha256))])
        }
        Source::File(SourceFile { name, size: _, sha256 }) => {
            Json::object([("file", name.into()), ("sha256", Json::text(sha256))])
        }
        Source::Debian { dsc, files } => {
            let file = |SourceFile { name, size: _, sha256 }: &SourceFile| {
                Json::object([("name", name.into()), ("sha256", Json::text(sha256))])
            };
            Json::object([
                ("dsc", dsc.into()),
                ("files", Json::Array(files.iter().map(file).collect())),
            ])
        }
    }
}
