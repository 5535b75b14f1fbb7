//! From a package to the one command that builds it: pure text and numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::Allowance;
use super::script;
use crate::archive::deb::version::Version;
use crate::base::{GuestPath, HostPath};
use crate::graph::derivation::{Package, Source};
use crate::sandbox::{Access, Collect, Limits, Mount, Request, Scratch, Stage};
use crate::spec::model::Resources;

/// Where a build finds what was prepared for it, read-only.
pub(super) const INPUTS: &str = "/run/perestroika";

/// Where the source folder lies, as on the distribution's own builders.
const WORK: &str = "/build/reproducible-path";

/// The host folders of one build, all in the store.
#[derive(Debug)]
pub struct Folders {
    /// The layers of the build root, lowest first.
    pub layers: Vec<HostPath>,
    /// What [`super::script`] expects: `build`, `source/`, `packaging/`, `upstream/`, `files/`,
    /// `patches/`, `changelog`.
    pub inputs: HostPath,
    /// Where outputs go.
    pub outputs: HostPath,
    /// An empty folder for scratch on disk.
    pub scratch: HostPath,
}

/// The request for building `package`.
pub fn request(
    package: &Package,
    source: &Source,
    resources: &Resources,
    folders: &Folders,
    allowance: &Allowance,
) -> Request {
    let limits = limits(resources, allowance);
    let scratch = if limits.scratch <= limits.memory {
        Scratch::Memory
    } else {
        Scratch::Disk(folders.scratch.clone())
    };
    let guest = |path: &str| path.parse::<GuestPath>().expect("our own paths are plain");
    Request {
        layers: folders.layers.clone(),
        mounts: vec![Mount {
            source: folders.inputs.clone(),
            target: guest(INPUTS),
            access: Access::ReadOnly,
        }],
        argv: vec!["/bin/sh".to_owned(), format!("{INPUTS}/build")],
        env: environment(package, limits.cores.len()),
        cwd: guest(WORK),
        stage: Stage::Build,
        limits,
        scratch,
        collect: Some(Collect {
            from: guest(WORK),
            patterns: match script::makes_source_package(package, source) {
                true => {
                    let of_source = script::source_patterns(package);
                    package.outputs.iter().cloned().chain(of_source).collect()
                }
                false => package.outputs.clone(),
            },
            to: folders.outputs.clone(),
        }),
    }
}

/// The environment beside the contract's: the package's own, and how parallel it may be. The
/// latter is a circumstance, no part of the action.
fn environment(package: &Package, cores: usize) -> BTreeMap<String, String> {
    let mut environment = package.environment.clone();
    let options = environment.entry("DEB_BUILD_OPTIONS".to_owned()).or_default();
    *options = format!("{options} parallel={}", cores.max(1)).trim().to_owned();
    if !package.profiles.is_empty() {
        environment.insert("DEB_BUILD_PROFILES".to_owned(), package.profiles.join(" "));
    }
    environment
}

/// What a build may use: what its spec says, or else the machine's allowance.
pub fn limits(resources: &Resources, allowance: &Allowance) -> Limits {
    const HOUR: u64 = 3600;
    let memory = resources.memory.unwrap_or(allowance.memory);
    let cores = match resources.cores {
        Some(cores) => allowance.cores.iter().copied().take(cores.max(1) as usize).collect(),
        None => allowance.cores.clone(),
    };
    Limits {
        wall: Duration::from_secs(resources.time.unwrap_or(12 * HOUR)),
        silence: Duration::from_secs(resources.silence.unwrap_or(HOUR)),
        memory,
        processes: 8192,
        scratch: resources.scratch.unwrap_or(memory / 10 * 7),
        inodes: 4_000_000,
        output: 512 << 20,
        cores,
    }
}

/// The source folder's name: the source package's and its upstream version, as `dpkg-source`
/// would call it.
pub(super) fn folder(package: &Package) -> String {
    let upstream = package
        .version
        .parse::<Version>()
        .map_or_else(|_| package.version.clone(), |version| version.upstream().to_owned());
    format!("{}-{upstream}", package.name)
}
