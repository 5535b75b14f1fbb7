//! Going into a guest: that of a failed build as it was left, one before the build, or a clean
//! root with the package installed.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, Result};
use super::event::Failure;
use super::inputs::{self, at};
use super::machine::Allowance;
use super::package::{self, Job, Laid, Purpose};
use super::record::Record;
use super::request::INPUTS;
use super::verdict::failure;
use super::{edits, script, universe};
use crate::base::{GuestPath, HostPath};
use crate::sandbox::{Access, Guise, Limits, Mount, Observe, Request, Scratch, Stage};
use crate::spec::model::Resources;
use crate::store::{self, Capsule, Entered, Store};

/// As long as anybody wants: a person is at it.
const EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is to be entered without a capsule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Before the build: the sources are prepared, nothing of the package has run.
    Fresh,
    /// A clean root with the package's own new binary packages, and what they need, installed.
    Installed,
}

/// A guest that can be entered; what it was made for is gone when this is dropped.
#[derive(Debug)]
pub struct Entry {
    /// What is asked of the sandbox, but for the command.
    pub request: Request,
    /// What starts the command in it.
    starter: Vec<String>,
    /// Where an overlay over the root keeps what is written.
    over: HostPath,
    /// An empty folder that its scratch could lie in.
    disk: Option<HostPath>,
    _entered: Option<Entered>,
    _scratch: Option<store::Scratch>,
}

/// Enters the sources where there are any, with the date that their build has.
const STARTER: &str = r#"cd "$0" 2>/dev/null || :
if [ -r debian/changelog ]; then
	SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp 2>/dev/null) && export SOURCE_DATE_EPOCH
fi
exec "$@"
"#;

impl Entry {
    /// The guest of a failed build as it was left, or as the last one who was in it left it.
    /// None if somebody is in it.
    pub fn of_capsule(
        store: &Store,
        capsule: &Capsule,
        allowance: &Allowance,
    ) -> Result<Option<Self>> {
        let Some(entered) = store.enter_capsule(capsule)? else { return Ok(None) };
        let contents = &capsule.contents;
        let guest = |path: &str| {
            path.parse::<GuestPath>().map_err(|_| Error::File {
                operation: "understand",
                path: capsule.path.join("capsule.json").to_string(),
                source: std::io::ErrorKind::InvalidData.into(),
            })
        };
        remember(capsule)?;
        let request = Request {
            layers: store.capsule_layers(capsule)?,
            mounts: vec![Mount {
                source: capsule.path.join("inputs"),
                target: guest(&contents.inputs)?,
                access: Access::ReadOnly,
            }],
            argv: Vec::new(),
            env: contents.env.clone(),
            cwd: guest(&contents.cwd)?,
            stage: Stage::Build,
            limits: limits(allowance),
            scratch: Scratch::Disk(capsule.path.join("scratch")),
            collect: None,
            keep: None,
            guise: Guise::default(),
            observe: Observe::Nothing,
        };
        Ok(Some(Self {
            request,
            starter: starter(&contents.sources),
            over: capsule.path.join("over"),
            disk: None,
            _entered: Some(entered),
            _scratch: None,
        }))
    }

    /// The same guest with this command; its first word is looked for as a shell does.
    #[must_use]
    pub fn running(mut self, command: &[String]) -> Self {
        self.request.argv = [self.starter.as_slice(), command].concat();
        self
    }

    /// The same guest with its scratch on disk, and where that is, if it has not begun yet.
    pub fn on_disk(mut self) -> Option<(Self, HostPath)> {
        let disk = self.disk.clone()?;
        self.request.scratch = Scratch::Disk(disk.clone());
        Some((self, disk))
    }

    /// The same guest, whose root can be written.
    pub fn writable(mut self) -> Result<Self> {
        let (upper, work) = (self.over.join("upper"), self.over.join("work"));
        for path in [&upper, &work] {
            fs::create_dir_all(path).map_err(at("create", path))?;
        }
        self.request.stage = Stage::Experiment { upper, work };
        Ok(self)
    }
}

/// A guest of this package that nothing has run in.
pub fn enter(job: &Job<'_>, way: Way, own: Option<&Arc<Record>>) -> Result<Entry, Box<Failure>> {
    let entry = match (way, own) {
        (Way::Installed, Some(record)) => installed(job, record),
        _ => fresh(job),
    };
    entry.map_err(|error| failure(job, &error))
}

fn fresh(job: &Job<'_>) -> Result<Entry> {
    let resolved = package::resolve(job)?;
    let Laid { scratch, folders, mut request, .. } = package::lay_out(job, &resolved)?;
    let own = request.limits.clone();
    let text = script::entering(job.package, &job.sources());
    inputs::write(&folders.inputs.join("enter"), text.as_bytes())?;
    request.limits = Limits { scratch: own.scratch, inodes: own.inodes, ..limits(&job.allowance) };
    (request.collect, request.keep) = (None, None);
    Ok(Entry {
        request,
        starter: vec!["/bin/sh".to_owned(), format!("{INPUTS}/enter")],
        over: scratch.path().join("over"),
        disk: Some(folders.scratch),
        _entered: None,
        _scratch: Some(scratch),
    })
}

fn installed(job: &Job<'_>, record: &Record) -> Result<Entry> {
    let lists = universe::with_installed(job, record)?;
    let root = package::build_root(job, &lists, Purpose::Installed(record))?;
    let scratch = job.world.store.scratch()?;
    let disk = scratch.path().join("disk");
    fs::create_dir(&disk).map_err(at("create", &disk))?;
    let plain = |path: &str| path.parse::<GuestPath>().expect("our own paths are plain");
    let request = Request {
        layers: root.layers,
        mounts: Vec::new(),
        argv: Vec::new(),
        env: Default::default(),
        cwd: plain("/build"),
        stage: Stage::Build,
        limits: limits(&job.allowance),
        scratch: Scratch::Disk(disk),
        collect: None,
        keep: None,
        guise: Guise::default(),
        observe: Observe::Nothing,
    };
    Ok(Entry {
        request,
        starter: starter("/build"),
        over: scratch.path().join("over"),
        disk: None,
        _entered: None,
        _scratch: Some(scratch),
    })
}

fn starter(folder: &str) -> Vec<String> {
    ["/bin/sh", "-c", STARTER, folder].map(str::to_owned).into()
}

/// What somebody in a guest may use: the machine's allowance, without end.
fn limits(allowance: &Allowance) -> Limits {
    let usual = super::request::limits(&Resources::default(), allowance);
    Limits {
        wall: EVER,
        silence: EVER,
        scratch: u64::MAX / 4,
        inodes: u64::MAX / 4,
        output: u64::MAX,
        ..usual
    }
}

/// Where a capsule's sources lie on this machine; none if the build put something else there.
pub fn sources(capsule: &Capsule) -> Option<HostPath> {
    sources_below(&capsule.path.join("scratch"), capsule)
}

/// Where a capsule's sources lie below scratch that is on disk, as the executor lays it out:
/// `/build` of the guest is `build`. Links there could lead anywhere, so none is followed.
pub fn sources_below(scratch: &HostPath, capsule: &Capsule) -> Option<HostPath> {
    let path = edits::below(scratch.as_path(), &capsule.contents.sources)?;
    let is_folder = fs::symlink_metadata(&path).is_ok_and(|there| there.is_dir());
    is_folder.then(|| HostPath::new(path))
}

/// Where they lie as they were when the capsule was first entered.
pub fn sources_before(capsule: &Capsule) -> HostPath {
    capsule.path.join("before")
}

/// Copies the sources of a capsule that nobody was in before: what is changed from now on is
/// known by that.
fn remember(capsule: &Capsule) -> Result<()> {
    let before = sources_before(capsule);
    if before.as_path().is_dir() {
        return Ok(());
    }
    let half = capsule.path.join("before.partial");
    if half.as_path().exists() {
        fs::remove_dir_all(&half).map_err(at("remove", &half))?;
    }
    fs::create_dir(&half).map_err(at("create", &half))?;
    if let Some(sources) = sources(capsule) {
        copy(sources.as_path(), half.as_path(), 0)?;
    }
    fs::rename(&half, &before).map_err(at("name", &before))
}

/// Deeper folders than this are left out: no source has them.
const DEEPEST: usize = 100;

/// Copies plain files, folders and links. What cannot be read is left out: it cannot be changed
/// by who cannot read it either.
fn copy(from: &Path, to: &Path, depth: usize) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEEPEST {
            fs::create_dir(&target).map_err(at("create", &target))?;
            copy(&path, &target, depth + 1)?;
        } else if kind.is_symlink() {
            let Ok(leads) = fs::read_link(&path) else { continue };
            std::os::unix::fs::symlink(leads, &target).map_err(at("link", &target))?;
        } else if kind.is_file() {
            // On file systems that can, both share their blocks.
            let copied = fs::copy(&path, &target);
            if copied.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull) {
                copied.map_err(at("copy", &path))?;
            }
        }
    }
    Ok(())
}
