//! Circumstances of a build that may be changed on purpose: what leaks from them into what is
//! built shows then. Nothing of this touches a build whose result is used.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::{Error, Result};
use super::inputs::{at, make_folder, set_mode};
use super::package::Job;
use super::record::Record;
use super::request::Room;
use super::{machine, request};
use crate::archive::deb;
use crate::base::{GuestPath, HostPath};
use crate::fetch::PoolFile;
use crate::sandbox::{Access, Kernel, Mount, Request, Scratch as Place};
use crate::store::Scratch;

/// A circumstance that can be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variation {
    /// The host name.
    HostName,
    /// The name of the user that builds.
    UserName,
    /// The folder that the source lies in.
    BuildPath,
    /// The time of day, and the date.
    Time,
    /// The locale.
    Locale,
    /// The time zone.
    TimeZone,
    /// The mask that new files begin with.
    Umask,
    /// How many processors there are.
    Processors,
    /// In which order folders list their files.
    FileOrder,
    /// The kernel's version as it is seen.
    Kernel,
}

/// How long after now a varied build believes to be.
const LATER: &str = "+397d";

/// Where the library is seen that tells programs another time.
const CLOCK: &str = "/run/perestroika-clock";

/// The package of the archive that has it, and what it is called there.
const CLOCK_PACKAGE: &str = "libfaketime";
const CLOCK_LIBRARY: &str = "libfaketime.so.1";

/// No library of this kind is larger, in bytes.
const LARGEST_CLOCK: u64 = 16 << 20;

/// How many files are made to see in which order folders list them.
const SAMPLE: usize = 40;

impl Variation {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::HostName,
        Self::UserName,
        Self::BuildPath,
        Self::Time,
        Self::Locale,
        Self::TimeZone,
        Self::Umask,
        Self::Processors,
        Self::FileOrder,
        Self::Kernel,
    ];

    /// What it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostName => "host-name",
            Self::UserName => "user-name",
            Self::BuildPath => "build-path",
            Self::Time => "time",
            Self::Locale => "locale",
            Self::TimeZone => "time-zone",
            Self::Umask => "umask",
            Self::Processors => "processors",
            Self::FileOrder => "file-order",
            Self::Kernel => "kernel",
        }
    }

    /// What becomes of it, and where that ends.
    pub const fn how(self) -> &'static str {
        match self {
            Self::HostName => "`varied-host` instead of `localhost`",
            Self::UserName => "`varied` instead of `builder`; its number is 1000 all the same",
            Self::BuildPath => "below `/build/varied/place` instead of `/build/reproducible-path`",
            Self::Time => {
                "397 days later, by a preloaded library: programs that are linked statically or \
                 ask the kernel themselves see the real time"
            }
            Self::Locale => "`C` instead of `C.UTF-8`",
            Self::TimeZone => "14 hours ahead instead of UTC",
            Self::Umask => "002 instead of 022",
            Self::Processors => "one instead of several, or the other way round",
            Self::FileOrder => {
                "scratch on disk instead of in memory, or the other way round; the read-only root \
                 lists its files as ever"
            }
            Self::Kernel => "2.6 as `uname` says it, instead of its own",
        }
    }
}

/// What it takes to vary, and what cannot be.
pub struct Means {
    clock: Option<HostPath>,
    cores: Option<Vec<u32>>,
    /// What cannot be varied here, with the reason.
    pub without: Vec<(Variation, String)>,
    _scratch: Option<Scratch>,
}

impl Means {
    /// What it takes for these variations of what `record` is of.
    pub fn new(job: &Job<'_>, record: &Record, wanted: &BTreeSet<Variation>) -> Result<Self> {
        let mut means = Self { clock: None, cores: None, without: Vec::new(), _scratch: None };
        if wanted.contains(&Variation::Time) {
            match clock(job)? {
                Ok((scratch, folder)) => {
                    means._scratch = Some(scratch);
                    means.clock = Some(folder);
                }
                Err(why) => means.without.push((Variation::Time, why)),
            }
        }
        if wanted.contains(&Variation::Processors) {
            match processors(job, record) {
                Ok(cores) => means.cores = Some(cores),
                Err(why) => means.without.push((Variation::Processors, why.to_owned())),
            }
        }
        if wanted.contains(&Variation::FileOrder)
            && let Err(why) = order(job)?
        {
            means.without.push((Variation::FileOrder, why.to_owned()));
        }
        Ok(means)
    }

    /// Those of `wanted` that can be.
    pub fn able(&self, wanted: &BTreeSet<Variation>) -> BTreeSet<Variation> {
        let cannot = |one: &Variation| self.without.iter().any(|(without, _)| without == one);
        wanted.iter().copied().filter(|one| !cannot(one)).collect()
    }

    /// Changes these circumstances of a build; `disk` is an empty folder for scratch.
    pub fn apply(&self, varied: &BTreeSet<Variation>, request: &mut Request, disk: &HostPath) {
        let guest = |path: &str| path.parse::<GuestPath>().expect("our own paths are plain");
        for one in varied {
            match one {
                Variation::HostName => request.guise.host_name = "varied-host".to_owned(),
                Variation::UserName => request.guise.user_name = "varied".to_owned(),
                Variation::Locale => request.guise.locale = "C".to_owned(),
                Variation::TimeZone => request.guise.time_zone = "<+14>-14".to_owned(),
                Variation::Umask => request.guise.umask = 0o002,
                Variation::Kernel => request.guise.kernel = Kernel::Older,
                Variation::BuildPath => {
                    let place = guest("/build/varied/place");
                    if let Some(collect) = &mut request.collect {
                        collect.from = place.clone();
                    }
                    request.cwd = place;
                }
                Variation::Time => {
                    if let Some(folder) = &self.clock {
                        request.mounts.push(Mount {
                            source: folder.clone(),
                            target: guest(CLOCK),
                            access: Access::ReadOnly,
                        });
                        let library = format!("{CLOCK}/{CLOCK_LIBRARY}");
                        let told = [
                            ("LD_PRELOAD", library.as_str()),
                            ("FAKETIME", LATER),
                            // What waits for a moment must not wait for ever.
                            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                            ("DONT_FAKE_MONOTONIC", "1"),
                        ];
                        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
                        request.env.extend(told);
                    }
                }
                Variation::Processors => {
                    if let Some(cores) = &self.cores {
                        let told = request.env.entry("DEB_BUILD_OPTIONS".to_owned()).or_default();
                        *told = told
                            .split(' ')
                            .map(|word| match word.starts_with("parallel=") {
                                true => format!("parallel={}", cores.len()),
                                false => word.to_owned(),
                            })
                            .collect::<Vec<_>>()
                            .join(" ");
                        request.limits.cores.clone_from(cores);
                    }
                }
                Variation::FileOrder => {
                    request.scratch = match &request.scratch {
                        Place::Memory => Place::Disk(disk.clone()),
                        Place::Disk(_) => Place::Memory,
                    };
                }
            }
        }
    }
}

/// A folder with the library, out of the pinned archive's own package; or why there is none.
fn clock(job: &Job<'_>) -> Result<Result<(Scratch, HostPath), String>> {
    let world = job.world;
    let snapshot = job.snapshot()?;
    let fits = |package: &&std::sync::Arc<deb::index::BinaryPackage>| {
        package.name.as_str() == CLOCK_PACKAGE && package.architecture == job.package.architecture
    };
    let Some(package) = snapshot.indexes.iter().flatten().find(fits) else {
        return Ok(Err(format!("the pinned archive has no package `{CLOCK_PACKAGE}`")));
    };
    let wanted =
        [PoolFile { path: package.filename.clone(), size: package.size, sha256: package.sha256 }];
    let objects =
        world.upstream.files(world.store, &snapshot.archive, &wanted, &|_| {}, world.cancel)?;
    let scratch = world.store.scratch()?;
    let folder = scratch.path().join("clock");
    make_folder(&folder)?;
    let target = folder.join(CLOCK_LIBRARY);
    let wrong = |error: deb::package::Error| Error::Output {
        file: format!("{CLOCK_PACKAGE}.deb"),
        reason: error.to_string(),
    };
    let file = world.store.open_sound(&objects[0])?;
    let (_, data) = deb::package::open(file).map_err(wrong)?;
    let mut found = false;
    data.each(|entry, content| {
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        if name == CLOCK_LIBRARY && matches!(entry.kind, deb::package::Kind::File { .. }) {
            let mut file = File::create(&target).map_err(broken)?;
            io::copy(&mut io::Read::take(content, LARGEST_CLOCK), &mut file).map_err(broken)?;
            found = true;
        }
        Ok::<_, deb::package::Error>(())
    })
    .map_err(wrong)?;
    if !found {
        return Ok(Err(format!(
            "`{CLOCK_PACKAGE}` of the pinned archive has no `{CLOCK_LIBRARY}`"
        )));
    }
    set_mode(&target, 0o644)?;
    Ok(Ok((scratch, folder)))
}

fn broken(source: io::Error) -> deb::package::Error {
    deb::package::Error::Read("the library", source)
}

/// Other processors than the record was built with.
fn processors(job: &Job<'_>, record: &Record) -> Result<Vec<u32>, &'static str> {
    let before = record.circumstances.get("cores").map(String::as_str);
    let all = machine::processors();
    match (before, all.as_slice()) {
        (_, [] | [_]) => Err("this machine has one processor"),
        (Some("1"), _) => Ok(all),
        _ => match job.allowance.cores.first() {
            Some(first) => Ok(vec![*first]),
            None => Err("no processor was given to it"),
        },
    }
}

/// Whether scratch in memory and on disk list files in different orders, and there is room for
/// both; otherwise why not.
fn order(job: &Job<'_>) -> Result<Result<(), &'static str>> {
    let limits = request::limits(job.resources(), &job.allowance);
    let room = Room { available: machine::available_memory(), promised: job.promised };
    if !room.holds(&limits) {
        return Ok(Err("there is too little memory for its scratch"));
    }
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        return Ok(Err("it is not known how memory lists files: `/dev/shm` cannot be written"));
    };
    let scratch = job.world.store.scratch()?;
    let orders = [sample(memory.path())?, sample(scratch.path().as_path())?];
    Ok(if orders[0] == orders[1] {
        Err("scratch in memory and on disk list files in the same order")
    } else {
        Ok(())
    })
}

/// The order in which a folder lists files that are made in it.
fn sample(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let place = folder.join("order");
    let failed = at("see how files are listed in", folder);
    let list = || -> io::Result<Vec<_>> {
        fs::create_dir(&place)?;
        for number in 0..SAMPLE {
            File::create(place.join(format!("file-{number}")))?;
        }
        fs::read_dir(&place)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    };
    list().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variation_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Variation::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(names.len(), Variation::ALL.len());
    }
}
