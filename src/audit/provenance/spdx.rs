//! SPDX 2.3 documents in JSON (spdx.github.io/spdx-spec/v2.3): what was built, from which source,
//! and with what in the build root.
//!
//! Licences are those that specs state, where they are expressions of SPDX; nothing is concluded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Build;
use super::info::binary;
use super::purl::purl;
use super::statement::{member, text};
use crate::base::{DerivationId, Digest, Json, Sha256};
use crate::realise::action::Listed;
use crate::realise::record::Output;

const UNKNOWN: &str = "NOASSERTION";

/// What a document says of a release beside its builds.
#[derive(Debug)]
pub struct Release<'a> {
    /// Its name, which is the vendor of what it builds.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// `Name <address>`.
    pub maintainer: &'a str,
    /// Its id.
    pub id: DerivationId,
    /// The licence that the spec of each package states, by the package's name.
    pub licenses: &'a BTreeMap<String, String>,
}

/// The document of one build.
pub fn of_build(build: &Build<'_>, release: &Release<'_>) -> Value {
    let package = build.package;
    let name = format!("{}_{}_{}", package.name, package.version, package.architecture);
    let mut document = Document::new(release);
    for id in document.build(build) {
        document.relate("SPDXRef-DOCUMENT", "DESCRIBES", &id);
    }
    document.finish(&name, &build.digest, &[build])
}

/// The document of a whole release.
pub fn of_release(builds: &[Build<'_>], release: &Release<'_>) -> Value {
    let mut document = Document::new(release);
    let id = "SPDXRef-Release";
    document.add(id, || {
        let mut package = package(id, release.name, release.version);
        package["supplier"] = supplier(release.maintainer).into();
        package
    });
    document.relate("SPDXRef-DOCUMENT", "DESCRIBES", id);
    // First what is built: of what is in build roots too, more is known here.
    let built: Vec<String> = builds.iter().flat_map(|build| document.outputs(build)).collect();
    for one in built {
        document.relate(id, "CONTAINS", &one);
    }
    for build in builds {
        document.build(build);
    }
    let name = format!("{}-{}", release.name, release.version);
    document.finish(&name, &release.id.digest(), &builds.iter().collect::<Vec<_>>())
}

/// A document in the making: each package once, each relationship once.
struct Document<'a> {
    release: &'a Release<'a>,
    packages: Vec<Value>,
    known: BTreeSet<String>,
    relationships: BTreeSet<(String, &'static str, String)>,
}

impl<'a> Document<'a> {
    fn new(release: &'a Release<'a>) -> Self {
        let (packages, known, relationships) = Default::default();
        Self { release, packages, known, relationships }
    }

    fn add(&mut self, id: &str, package: impl FnOnce() -> Value) {
        if self.known.insert(id.to_owned()) {
            self.packages.push(package());
        }
    }

    fn relate(&mut self, from: &str, kind: &'static str, to: &str) {
        self.relationships.insert((from.to_owned(), kind, to.to_owned()));
    }

    /// Adds a build: its outputs, its source, and what it was built with. Gives the outputs.
    fn build(&mut self, build: &Build<'_>) -> Vec<String> {
        let outputs = self.outputs(build);
        let source = self.source(build);
        for output in outputs.iter().filter(|output| **output != source) {
            self.relate(output, "GENERATED_FROM", &source);
        }
        for one in build.inputs() {
            let Listed { name, version, architecture, sha256 } = one;
            let (id, release) = (id_of(name, sha256), self.release);
            self.add(&id, || {
                let mut package = package(&id, name, version);
                let vendor = match build.own.contains(sha256) {
                    true => release.name,
                    false => &build.vendor,
                };
                package["checksums"] = checksums(sha256);
                package["externalRefs"] = locator(&purl(vendor, name, version, architecture));
                package["supplier"] = format!("Organization: {vendor}").into();
                package
            });
            self.relate(&id, "BUILD_DEPENDENCY_OF", &source);
        }
        outputs
    }

    /// Adds what a build left: its binary packages, and the source package if it made one.
    fn outputs(&mut self, build: &Build<'_>) -> Vec<String> {
        let release = self.release;
        let kept = build.record.outputs.iter().filter_map(|output| {
            let (name, architecture) = match output.file.ends_with(".dsc") {
                true => (build.package.name.to_string(), "source".to_owned()),
                false => binary(output)?,
            };
            Some((output, name, architecture))
        });
        let mut ids = Vec::new();
        for (output, name, architecture) in kept {
            let Output { file, sha256, .. } = output;
            let version = &build.package.version;
            let id = id_of(&name, sha256);
            self.add(&id, || {
                let mut package = package(&id, &name, version);
                package["packageFileName"] = file.as_str().into();
                package["checksums"] = checksums(sha256);
                let url = purl(release.name, &name, version, &architecture);
                package["externalRefs"] = locator(&url);
                package["supplier"] = supplier(release.maintainer).into();
                if architecture == "source" {
                    package["primaryPackagePurpose"] = "SOURCE".into();
                }
                license(&mut package, release.licenses.get(build.package.name.as_str()));
                package
            });
            ids.push(id);
        }
        ids
    }

    /// The source package that is built: the one that the build made, or else what the action
    /// names.
    fn source(&mut self, build: &Build<'_>) -> String {
        let outputs = &build.record.outputs;
        if let Some(made) = outputs.iter().find(|output| output.file.ends_with(".dsc")) {
            return id_of(build.package.name.as_str(), &made.sha256);
        }
        let source = member(&build.action, "source");
        let dsc = source.and_then(|source| text(source, "dsc"));
        let files = match source.and_then(|source| member(source, "files")) {
            Some(Json::Array(files)) => &files[..],
            _ => &[],
        };
        let of_dsc = files.iter().find(|file| text(file, "name") == dsc);
        let sha256 = of_dsc.or(source).and_then(|of| text(of, "sha256")?.parse::<Sha256>().ok());
        let tree = source.and_then(|source| text(source, "tree")?.parse::<Digest>().ok());
        let (name, version) = (build.package.name.as_str(), &build.package.version);
        let id = match (&sha256, &tree) {
            (Some(sha256), _) => id_of(name, sha256),
            (None, tree) => {
                let digest = tree.unwrap_or_else(|| build.record.action.digest());
                format!("SPDXRef-{}-source-{digest}", letters(name))
            }
        };
        let licenses = self.release.licenses;
        self.add(&id, || {
            let mut package = package(&id, name, version);
            if let Some(file) = dsc {
                package["packageFileName"] = file.into();
                let url = purl(&build.vendor, name, version, "source");
                package["externalRefs"] = locator(&url);
                package["supplier"] = format!("Organization: {}", build.vendor).into();
            }
            if let Some(sha256) = &sha256 {
                package["checksums"] = checksums(sha256);
            }
            if let Some(tree) = &tree {
                let told = format!("a folder; the BLAKE3 of the list of its files is {tree}");
                package["sourceInfo"] = told.into();
            }
            package["primaryPackagePurpose"] = "SOURCE".into();
            license(&mut package, licenses.get(name));
            package
        });
        id
    }

    /// The document: named after what it is about, and by all that it says.
    fn finish(self, name: &str, about: &Digest, builds: &[&Build<'_>]) -> Value {
        let ended = builds.iter().map(|build| build.times().1).max().unwrap_or_default();
        let mut creators: Vec<String> = builds
            .iter()
            .map(|build| match build.tool() {
                Some(version) => format!("Tool: perestroika-{version}"),
                None => "Tool: perestroika".to_owned(),
            })
            .collect();
        creators.sort_unstable();
        creators.dedup();
        let relationship = |(from, kind, to): &(String, &str, String)| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
        let mut packages = self.packages;
        packages.sort_by(|a, b| a["SPDXID"].as_str().cmp(&b["SPDXID"].as_str()));
        let mut document = json!({
            "SPDXID": "SPDXRef-DOCUMENT",
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "name": name,
            "creationInfo": {
                "created": ended.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "creators": creators,
            },
            "packages": packages,
            "relationships": self.relationships.iter().map(relationship).collect::<Vec<_>>(),
        });
        let said = Digest::of(document.to_string().as_bytes());
        document["documentNamespace"] = format!("urn:perestroika:spdx:{about}:{said}").into();
        document
    }
}

/// What is said of every package.
fn package(id: &str, name: &str, version: &str) -> Value {
    json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
    })
}

/// States the licence, if it can be said in SPDX; else what the spec calls it.
fn license(package: &mut Value, stated: Option<&String>) {
    let Some(stated) = stated else { return };
    let plain = spdx::Expression::parse(stated).is_ok_and(|expression| {
        let mut names = expression.requirements().map(|one| &one.req);
        names.all(|one| {
            let addition = one.addition.as_ref();
            one.license.id().is_some() && addition.is_none_or(|addition| addition.id().is_some())
        })
    });
    if plain {
        package["licenseDeclared"] = stated.as_str().into();
    } else {
        package["licenseComments"] = format!("The spec states: {stated}").into();
    }
}

/// SHA-256 alone: the SPDX project's own reader takes no BLAKE3 of 64 digits.
fn checksums(sha256: &Sha256) -> Value {
    json!([{ "algorithm": "SHA256", "checksumValue": sha256.to_string() }])
}

fn locator(purl: &str) -> Value {
    json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }])
}

/// `Name <address>` as SPDX has it.
fn supplier(maintainer: &str) -> String {
    match maintainer.split_once('<') {
        Some((name, address)) => {
            format!("Organization: {} ({})", name.trim(), address.trim_end_matches('>').trim())
        }
        None => format!("Organization: {maintainer}"),
    }
}

/// The id of a package in a document: letters, digits, `.` and `-` alone.
fn id_of(name: &str, sha256: &Sha256) -> String {
    format!("SPDXRef-{}-{sha256}", letters(name))
}

fn letters(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    name.chars().map(|letter| if plain(letter) { letter } else { '-' }).collect()
}
