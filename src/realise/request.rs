//! From a package to the one command that builds it: pure text and numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::Allowance;
use crate::archive::deb::version::Version;
use crate::base::{GuestPath, HostPath};
use crate::graph::derivation::Package;
use crate::sandbox::{
    Access, Collect, Guise, Keep, Limits, Mount, Observe, Request, Scratch, Stage,
};
use crate::spec::model::Resources;

/// Where a build finds what was prepared for it, read-only.
pub(super) const INPUTS: &str = "/run/perestroika";

/// Where the source folder lies, as on the distribution's own builders.
pub(super) const WORK: &str = "/build/reproducible-path";

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
    /// Where it is kept if the build fails.
    pub keep: Option<Keep>,
}

/// The memory that there is for scratch.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes of memory that can be had now.
    pub available: u64,
    /// Bytes of scratch that the builds already running may use in all.
    pub promised: u64,
}

impl Room {
    /// Whether a build with these limits can have its scratch in memory: its own limit of memory
    /// must hold it, and so must the machine, even if the builds beside it fill all of theirs.
    pub(super) fn holds(self, limits: &Limits) -> bool {
        limits.scratch <= limits.memory
            && limits.scratch.saturating_add(self.promised) <= self.available
    }
}

/// The request for building `package`, of which the files of these patterns are kept.
pub fn request(
    package: &Package,
    patterns: Vec<String>,
    resources: &Resources,
    folders: &Folders,
    allowance: &Allowance,
    room: Room,
) -> Request {
    let limits = limits(resources, allowance);
    let scratch =
        if room.holds(&limits) { Scratch::Memory } else { Scratch::Disk(folders.scratch.clone()) };
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
        collect: Some(Collect { from: guest(WORK), patterns, to: folders.outputs.clone() }),
        keep: folders.keep.clone(),
        guise: Guise::default(),
        observe: Observe::Nothing,
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

/// The folder that a package's source is built in, as its build sees it.
pub fn build_path(package: &Package) -> String {
    format!("{WORK}/{}", folder(package))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_lies_in_memory_only_where_there_is_enough_of_it() {
        const GIB: u64 = 1 << 30;
        let allowance = Allowance { machine_memory: 16 * GIB, memory: 8 * GIB, cores: vec![0] };
        for (scratch, available, promised, in_memory) in [
            (4, 12, 0, true),
            (4, 12, 8, true),
            (8, 8, 0, true),
            // More than the build itself may take.
            (9, 100, 0, false),
            // Memory is short by itself, or because of the builds beside it.
            (4, 3, 0, false),
            (4, 12, 9, false),
            (4, u64::MAX / GIB, u64::MAX / GIB, false),
        ] {
            let resources = Resources { scratch: Some(scratch * GIB), ..Resources::default() };
            let room = Room { available: available * GIB, promised: promised * GIB };
            let held = room.holds(&limits(&resources, &allowance));
            assert_eq!(held, in_memory, "{scratch} {available} {promised}");
        }
    }
}
