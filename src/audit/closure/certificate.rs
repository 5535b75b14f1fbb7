//! The certificate of a release's closure, as a canonical JSON document.
//!
//! `perestroika/certificate/1` has these members:
//! - `kind`: `closure`;
//! - `release`, `name`, `version`, `customer`: the release id and what the release is called;
//! - `manifest`: the manifest digest, if the release was built as a whole;
//! - `level`: `sealed`, `own` or `self-hosted`; `open` if it is not closed, `unproved` if not every
//!   package is built. `possible` is the highest level that is not ruled out, or `open`;
//! - `looked`: `depth` (`bytes`: everything that a record names was read and compared with its
//!   digest; `present`: it was looked for) and `objects`, how many that were;
//! - `packages`: for each, in the order of the graph, `name`, `version`, `derivation`, `basis`
//!   (`recorded`, `foreseen`, `unknown` with `because`, `unasked`), `action` and `record` if it is
//!   built, and of its build root `own` and `seed`, each `packages` and `bytes`, and `shadowed`,
//!   how many of the seed are;
//! - `own`: `packages` and `bytes` of the release's own packages in any build root;
//! - `seed`: each package `name`, `version`, `architecture`, `sha256`, `size`, `source`, and
//!   `roots`, in how many build roots it is;
//! - `shadowed`: those of the seed that the release builds one of: the same, `by`, `bytes`
//!   (`differ`, or `unknown` before that is built), `asked_by`, and `in`: each `package` with `why`
//!   (`itself`, `from-seed`, `no-edge`, `round`);
//! - `findings`: why it is not closed, one text each.
//!
//! It states no moment, so the same evidence gives the same bytes.

use super::{Basis, Depth, Evidence, Finding, Looked, Same, Seed, Shadowed, Share, Standing};
use crate::archive::deb::index::BinaryPackage;
use crate::base::{DerivationId, Digest, Json};
use crate::graph::derivation::Release;
use crate::realise::action::Listed;
use crate::spec::release::Level;

const FORMAT: &str = "perestroika/certificate/1";

/// What is certain of a release's closure.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The release id.
    pub id: DerivationId,
    /// The release.
    pub release: Release,
    /// The manifest digest, if the release was built as a whole.
    pub manifest: Option<Digest>,
    /// How the store was read.
    pub looked: Looked,
    /// The packages, each after what it needs.
    pub packages: Vec<Standing>,
    /// The release's own packages in any build root.
    pub own: Share,
    /// Everything else in any build root, by name.
    pub seed: Vec<Seed>,
    /// What of that the release builds, too.
    pub shadowed: Vec<Shadowed>,
    /// Why it is not closed.
    pub findings: Vec<Finding>,
}

impl Certificate {
    pub(super) fn new(evidence: &Evidence<'_>) -> Self {
        Self {
            id: evidence.id,
            release: evidence.release.clone(),
            manifest: evidence.manifest.as_ref().map(|manifest| manifest.digest),
            looked: evidence.looked,
            packages: Vec::with_capacity(evidence.packages.len()),
            own: Share::default(),
            seed: Vec::new(),
            shadowed: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// How many packages its seed has, and their bytes.
    pub fn seed_share(&self) -> Share {
        let mut share = Share::default();
        self.seed.iter().for_each(|seed| share.add(seed.package.size));
        share
    }

    /// The level as one word; `unproved` if not every package is built.
    pub fn level_word(&self) -> &'static str {
        match (self.is_complete(), self.possible()) {
            (_, None) => "open",
            (true, Some(level)) => level.as_str(),
            (false, Some(_)) => "unproved",
        }
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let Self { id, release, manifest, looked, packages, own, seed, shadowed, findings } = self;
        let Release { name, version, customer, packages: _ } = release;
        let depth = match looked.depth {
            Depth::Present => "present",
            Depth::Bytes => "bytes",
        };
        let looked = [("depth", depth.into()), ("objects", integer(looked.objects as u64))];
        let possible = self.possible().map_or("open", Level::as_str);
        let mut members = vec![
            ("format", FORMAT.into()),
            ("kind", "closure".into()),
            ("release", Json::text(id)),
            ("name", name.into()),
            ("version", version.into()),
            ("customer", customer.into()),
            ("level", self.level_word().into()),
            ("possible", possible.into()),
            ("looked", Json::object(looked)),
            ("packages", Json::Array(packages.iter().map(Standing::to_json).collect())),
            ("own", own.to_json()),
            ("seed", Json::Array(seed.iter().map(Seed::to_json).collect())),
            ("shadowed", Json::Array(shadowed.iter().map(Shadowed::to_json).collect())),
            ("findings", Json::Array(findings.iter().map(Json::text).collect())),
        ];
        members.extend(manifest.map(|manifest| ("manifest", Json::text(manifest))));
        Json::object(members)
    }
}

impl Basis {
    /// The basis as one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Foreseen => "foreseen",
            Self::Unknown(_) => "unknown",
            Self::Unasked => "unasked",
        }
    }
}

impl Standing {
    fn to_json(&self) -> Json {
        let Self { name, version, derivation, built, basis, own, seed, shadowed } = self;
        let mut members = vec![
            ("name", Json::text(name)),
            ("version", version.into()),
            ("derivation", Json::text(derivation)),
            ("basis", basis.as_str().into()),
            ("own", own.to_json()),
            ("seed", seed.to_json()),
            ("shadowed", integer(*shadowed as u64)),
        ];
        if let Some((action, record)) = built {
            members.extend([("action", Json::text(action)), ("record", Json::text(record))]);
        }
        if let Basis::Unknown(why) = basis {
            members.push(("because", why.into()));
        }
        Json::object(members)
    }
}

impl Share {
    fn to_json(self) -> Json {
        let Self { packages, bytes } = self;
        Json::object([("packages", integer(packages as u64)), ("bytes", integer(bytes))])
    }
}

impl Seed {
    fn to_json(&self) -> Json {
        let Self { package, root: _, first: _, roots } = self;
        let members = [
            ("size", integer(package.size)),
            ("source", Json::text(&package.source)),
            ("roots", integer(*roots as u64)),
        ];
        listed(package, members)
    }
}

impl Shadowed {
    fn to_json(&self) -> Json {
        let Self { package, by, same, roots, asked_by } = self;
        let bytes = match same {
            Same::Differs => "differ",
            Same::Unknown => "unknown",
        };
        let places = roots.iter().map(|(package, why)| {
            Json::object([("package", Json::text(package)), ("why", why.as_str().into())])
        });
        let members = [
            ("by", Json::text(by)),
            ("bytes", bytes.into()),
            ("asked_by", Json::Array(asked_by.iter().map(Json::text).collect())),
            ("in", Json::Array(places.collect())),
        ];
        listed(package, members)
    }
}

/// A package as build roots list it, with more members.
fn listed<const N: usize>(package: &BinaryPackage, more: [(&str, Json); N]) -> Json {
    let Json::Object(mut members) = Listed::of(package).to_json() else {
        unreachable!("a package is listed as an object")
    };
    members.extend(more.map(|(key, value)| (key.to_owned(), value)));
    Json::Object(members)
}

fn integer(number: u64) -> Json {
    Json::Integer(i64::try_from(number).unwrap_or(i64::MAX).min(crate::base::json::MAX_INTEGER))
}
