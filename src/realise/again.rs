//! Building an action once more from its recorded inputs. Nothing that comes of it is a result:
//! it is held against the record, and kept as evidence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;

use super::action::{self, Action, Listed};
use super::error::{Error, Result};
use super::event::{Failure, Phase};
use super::package::{self, Job, Ran, Resolved};
use super::record::{Output, Record};
use super::script;
use super::universe::RootLists;
use super::vary::{Means, Variation};
use super::verdict::failure;
use crate::archive::deb;
use crate::archive::deb::index::BinaryPackage;
use crate::base::{Digest, HostPath, Sha256};
use crate::graph::derivation::Package;
use crate::sandbox::Request;
use crate::store::{Log, Object, Store};

/// What building an action again came to.
#[derive(Debug)]
pub struct Again {
    /// The files it left, sorted by name. They are in the store, where nothing needs them.
    pub outputs: Vec<Output>,
    /// Manifest digests of the build root's layers, lowest first.
    pub layers: Vec<Digest>,
    /// Digest of its log.
    pub log: Digest,
    /// The isolation that was in force.
    pub receipt: BTreeMap<String, String>,
    /// What may not matter.
    pub circumstances: BTreeMap<String, String>,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took, in milliseconds.
    pub elapsed: i64,
}

/// An action that failed when it was built again.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub failure: Box<Failure>,
    /// Its log, if it came to that.
    pub log: Option<Digest>,
}

/// A package that is to be built again, as often as it takes.
pub struct Repeat<'a> {
    job: &'a Job<'a>,
    /// What came of it before.
    pub record: &'a Record,
}

impl<'a> Repeat<'a> {
    pub(super) fn new(job: &'a Job<'a>, record: &'a Record) -> Self {
        Self { job, record }
    }

    /// What is built.
    pub(super) fn job(&self) -> &'a Job<'a> {
        self.job
    }

    /// Where everything is kept.
    pub fn store(&self) -> &Store {
        self.job.world.store
    }

    /// The package.
    pub fn package(&self) -> &Package {
        self.job.package
    }

    /// Builds it, with exactly the packages in its root that it had.
    pub fn plain(&self) -> Result<Again, Failed> {
        insist(self.job, &|| recorded(self.job, self.record), &|_, _| {})
    }

    /// What it takes to change these circumstances.
    pub fn means(&self, wanted: &BTreeSet<Variation>) -> Result<Means, Failed> {
        Means::new(self.job, self.record, wanted)
            .map_err(|error| Failed { failure: failure(self.job, &error), log: None })
    }

    /// Builds it as [`Repeat::plain`] does, but in other circumstances.
    pub fn varied(&self, means: &Means, varied: &BTreeSet<Variation>) -> Result<Again, Failed> {
        let resolve = || recorded(self.job, self.record);
        insist(self.job, &resolve, &|request, disk| means.apply(varied, request, disk))
    }
}

/// Changes a request; the folder is empty, and on disk.
pub(super) type Change<'a> = &'a dyn Fn(&mut Request, &HostPath);

/// Says what is done, and with which root.
pub(super) type Resolve<'a> = &'a dyn Fn() -> Result<Resolved>;

/// Builds what `resolve` says. What the machine fails is tried again.
pub(super) fn insist(
    job: &Job<'_>,
    resolve: Resolve<'_>,
    change: Change<'_>,
) -> Result<Again, Failed> {
    package::insist(job, || match once(job, resolve, change) {
        Ok(again) => Ok(Ok(again)),
        // What may pass is tried again, everything else is told with its log.
        Err(Failed { failure, .. }) if failure.may_pass => Err(failure),
        Err(failed) => Ok(Err(failed)),
    })
    .unwrap_or_else(|failure| Err(Failed { failure, log: None }))
}

fn once(job: &Job<'_>, resolve: Resolve<'_>, change: Change<'_>) -> Result<Again, Failed> {
    let unlogged = |error: &Error| Failed { failure: failure(job, error), log: None };
    let store = job.world.store;
    job.phase(Phase::Solve);
    let resolved = resolve().map_err(|error| unlogged(&error))?;
    job.phase(Phase::Wait);
    let _place = job.share.place(job.world.cancel).map_err(|error| unlogged(&error.into()))?;
    let mut laid = package::lay_out(job, &resolved).map_err(|error| unlogged(&error))?;
    // Whoever wants to look into a failure builds it: that keeps its sandbox.
    laid.request.keep = None;
    change(&mut laid.request, &laid.folders.scratch);
    let writer = store
        .start_reproduction(laid.request.limits.output)
        .map_err(|error| unlogged(&error.into()))?;
    let ran = package::run(job, &laid, writer);
    let Ran { ended, mut writer, keeping: _, started, elapsed } =
        ran.map_err(|failure| Failed { failure, log: None })?;
    let (outcome, outputs, batch) = match ended {
        Ok(ended) => ended,
        Err(failure) => {
            let log = writer.finish().ok().map(|log| log.digest);
            return Err(Failed { failure, log });
        }
    };
    let keep = || -> Result<Log> {
        let log = batch.put_log(&mut writer)?;
        batch.commit()?;
        Ok(log)
    };
    let log = keep().map_err(|error| unlogged(&error))?;
    Ok(Again {
        outputs,
        layers: laid.root.manifests,
        log: log.digest,
        circumstances: package::circumstances(&job.allowance, &outcome.receipt.0),
        receipt: outcome.receipt.0,
        started,
        elapsed: i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX),
    })
}

/// The action of a record with its root list as it was written down. What this version of the
/// program would do otherwise is refused: it would prove nothing.
fn recorded(job: &Job<'_>, record: &Record) -> Result<Resolved> {
    let document = job.world.store.read_json(&record.action.digest())?;
    let layers = action::root(document).ok_or(Error::Action { action: record.action })?;
    let known = Known::of(job)?;
    let list = |layer: &Vec<Listed>| layer.iter().map(|one| known.find(job, one)).collect();
    let lists = RootLists { layers: layers.iter().map(list).collect::<Result<_>>()? };
    let sources = job.sources();
    let script = script::script(job.package, &sources);
    let slices: Vec<&[_]> = lists.layers.iter().map(Vec::as_slice).collect();
    let action = Action::new(job.package, &sources, &script, &slices);
    if action.id() != record.action {
        return Err(Error::OtherAction { recorded: record.action, now: action.id() });
    }
    Ok(Resolved { action, lists, script })
}

/// The packages that a root may be made of, by their digests.
pub(super) struct Known(HashMap<Sha256, Arc<BinaryPackage>>);

impl Known {
    /// Those that the archive has as it is pinned, and those that the package's closure came to.
    pub(super) fn of(job: &Job<'_>) -> Result<Self> {
        let snapshot = job.snapshot()?;
        let archive = snapshot.indexes.iter().flatten();
        let mut known: HashMap<_, _> =
            archive.map(|package| (package.sha256, Arc::clone(package))).collect();
        for output in job.closure.iter().flat_map(|record| &record.outputs) {
            if output.is_offered() {
                let package = binary(&output.control, &output.file, output.size, output.sha256)?;
                known.insert(output.sha256, Arc::new(package));
            }
        }
        Ok(Self(known))
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<BinaryPackage>> {
        self.0.values()
    }

    /// The package that an action lists, from the store if need be.
    pub(super) fn find(&self, job: &Job<'_>, wanted: &Listed) -> Result<Arc<BinaryPackage>> {
        let Listed { name, version, architecture, sha256 } = wanted;
        let lost = || Error::NotToBeHad {
            package: format!("{name} {version} {architecture}"),
            sha256: *sha256,
        };
        if let Some(package) = self.0.get(sha256) {
            return Ok(Arc::clone(package));
        }
        let store = job.world.store;
        let object = store.find(sha256)?.ok_or_else(lost)?;
        let file = store.open_sound(&object.digest)?;
        inside(file, &object, name).map(Arc::new)
    }
}

/// What a package says of itself.
pub(super) fn inside(file: File, object: &Object, name: &str) -> Result<BinaryPackage> {
    let wrong = |reason: String| Error::Output { file: name.to_owned(), reason };
    let (control, _) = deb::package::open(file).map_err(|error| wrong(error.to_string()))?;
    binary(control.paragraph(), name, object.size, object.sha256)
}

fn binary(control: &str, file: &str, size: u64, sha256: Sha256) -> Result<BinaryPackage> {
    BinaryPackage::from_control(control, file, size, sha256)
        .map_err(|error| Error::Output { file: file.to_owned(), reason: error.to_string() })
}
