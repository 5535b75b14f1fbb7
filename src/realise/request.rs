//! From a package to the one command that builds it: pure text and numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::machine::Allowance;
use crate::archive::deb::version::Version;
use crate::base::{GuestPath, HostPath};
use crate::graph::derivation::{Package, Source};
use crate::sandbox::{Access, Collect, Limits, Mount, Request, Scratch, Stage};
use crate::spec::model::Resources;

/// Where a build finds what was prepared for it, read-only.
const INPUTS: &str = "/run/perestroika";

/// Where the source folder lies, as on the distribution's own builders.
const WORK: &str = "/build/reproducible-path";

/// The host folders of one build, all in the store.
#[derive(Debug)]
pub struct Folders {
    /// The layers of the build root, lowest first.
    pub layers: Vec<HostPath>,
    /// What [`script`] expects: `build`, `source/`, `files/`, `changelog`.
    pub inputs: HostPath,
    /// Where outputs go.
    pub outputs: HostPath,
    /// An empty folder for scratch on disk.
    pub scratch: HostPath,
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
    fn holds(self, limits: &Limits) -> bool {
        limits.scratch <= limits.memory
            && limits.scratch.saturating_add(self.promised) <= self.available
    }
}

/// The whole shell script of a build: preparing the source folder, then the package's own
/// script. It is part of the action: nothing is done to a source that an auditor cannot read.
///
/// `extra` are the other sources by the path they are put at; they lie at `extra/0`, `extra/1` and
/// so on in this order. A tarball is at `upstream/orig.tar.xz` (and so on) too, as it came.
pub fn script(package: &Package, source: &Source, extra: &BTreeMap<&str, &Source>) -> String {
    let folder = folder(package);
    let mut text = String::from("set -e\n");
    match source {
        Source::Debian { dsc, .. } => {
            text.push_str(&format!(
                "dpkg-source --no-check --extract {} {}\ncd {}\n",
                quote(&format!("{INPUTS}/source/{dsc}")),
                quote(&folder),
                quote(&folder)
            ));
        }
        Source::Tree { .. } | Source::Tarball { .. } | Source::File(_) => {
            text.push_str(&format!(
                "cp -R {INPUTS}/source {}\ncd {}\n",
                quote(&folder),
                quote(&folder)
            ));
        }
    }
    for (index, (path, source)) in extra.iter().enumerate() {
        let (from, to) = (format!("{INPUTS}/extra/{index}"), quote(path));
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        match source {
            Source::Debian { dsc, .. } => text.push_str(&format!(
                "rm -rf {to}\nmkdir -p {}\ndpkg-source --no-check --extract {} {to}\n",
                quote(parent),
                quote(&format!("{from}/{dsc}")),
            )),
            Source::Tree { .. } | Source::Tarball { .. } => {
                text.push_str(&format!("mkdir -p {to}\ncp -R {from}/. {to}\n"));
            }
            Source::File(file) => text.push_str(&format!(
                "mkdir -p {}\ncp {} {to}\n",
                quote(parent),
                quote(&format!("{from}/{}", file.name)),
            )),
        }
    }
    if !package.files.is_empty() {
        text.push_str(&format!("cp -R {INPUTS}/files/. .\n"));
    }
    if !package.changelog.is_empty() {
        text.push_str(&format!(
            "cat {INPUTS}/changelog debian/changelog > ../changelog\n\
             cp ../changelog debian/changelog\nrm ../changelog\n"
        ));
    }
    // What the graph says of the package and what its source says must be one thing.
    let expected = format!("{} {}", package.name, package.version);
    text.push_str(&format!(
        "said=\"$(dpkg-parsechangelog -S Source) $(dpkg-parsechangelog -S Version)\"\n\
         if [ \"$said\" != {expected} ]; then\n\
         \techo \"error: the release builds\" {expected}\", its source is $said\" >&2\n\
         \texit 1\nfi\n",
        expected = quote(&expected),
    ));
    text.push_str(
        "SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)\nexport SOURCE_DATE_EPOCH\n",
    );
    if !matches!(source, Source::Debian { .. }) || !extra.is_empty() {
        // A folder has no times of its own: every file gets that of the changelog.
        text.push_str("find . -exec touch -h -d \"@$SOURCE_DATE_EPOCH\" {} +\n");
    }
    text.push_str(&package.script);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The request for building `package`.
pub fn request(
    package: &Package,
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
        collect: Some(Collect {
            from: guest(WORK),
            patterns: package.outputs.clone(),
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
fn folder(package: &Package) -> String {
    let upstream = package
        .version
        .parse::<Version>()
        .map_or_else(|_| package.version.clone(), |version| version.upstream().to_owned());
    format!("{}-{upstream}", package.name)
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
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

    #[test]
    fn shell_words_are_quoted() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
