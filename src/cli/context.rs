//! What most commands begin with: the release folder, its specs and lock, the store.

use std::collections::BTreeMap;
use std::io::ErrorKind::PermissionDenied;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use etcetera::BaseStrategy as _;
use serde_json::{Value, json};

use super::address::addressed;
use super::arguments::Global;
use super::config::Config;
use super::executor::{Choice, Runner, engine_failed};
use super::failure::{Failure, Kind, Problem};
use super::interrupt::cancel_on_interrupt;
use super::kept::Kept;
use super::output::Output;
use crate::archive::deb::signature;
use crate::base::{Diagnostic, Digest, HostPath};
use crate::fetch::{Client, Mirrors, Network, Patience, Places, Search};
use crate::graph::{Extent, Graph, Origin, lower, names};
use crate::pin::{self, Stale};
use crate::realise::retry::Retries;
use crate::realise::universe::Snapshots;
use crate::realise::upstream::Upstream;
use crate::realise::world::World;
use crate::sandbox::native::Session;
use crate::sandbox::{self, Enforcement, Executor as _, Outcome, Request};
use crate::spec::loader::Folder;
use crate::spec::lock::{self, Lock};
use crate::spec::model::Located;
use crate::spec::release::Archive;
use crate::spec::{self, Spec};
use crate::store::{self, CapsuleLimits, Damage, Store};

/// Release folders and other words: what is `.` or `..` or contains `/` is a folder, unless it is
/// a URL.
pub struct Named {
    /// The release folders named, or the nearest parent with a release.toml.
    pub releases: Vec<HostPath>,
    /// Every other word.
    pub names: Vec<String>,
}

/// Tells release folders from names.
pub fn named(words: &[String]) -> Result<Named, Failure> {
    let (folders, names): (Vec<_>, Vec<_>) = words.iter().cloned().partition(|word| {
        // A URL names a pin.
        word == "." || word == ".." || (word.contains('/') && !word.contains("://"))
    });
    let releases = if folders.is_empty() {
        let here = |name: &&String| Path::new(name).join("release.toml").is_file();
        vec![nearest().map_err(|failure| match names.iter().find(here) {
            Some(name) => failure.hint(format!("`{name}` is one: a folder is written `{name}/`")),
            None => failure,
        })?]
    } else {
        folders.iter().map(|folder| release_folder(Path::new(folder))).collect::<Result<_, _>>()?
    };
    Ok(Named { releases, names })
}

/// Tells one release folder from names.
pub fn named_one(words: &[String]) -> Result<(HostPath, Vec<String>), Failure> {
    let Named { mut releases, names } = named(words)?;
    match releases.len() {
        1 => Ok((releases.remove(0), names)),
        count => Err(Failure::input("one-release", format!("{count} releases were named"))
            .hint("this command takes one release folder")),
    }
}

/// The release folder at a path.
pub fn release_folder(folder: &Path) -> Result<HostPath, Failure> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let absolute = written_once(&absolute);
    if absolute.join("release.toml").is_file() {
        return Ok(HostPath::new(absolute));
    }
    let what = if absolute.is_dir() { "has no release.toml" } else { "is not a folder" };
    Err(Failure::input("no-release", format!("`{}` {what}", folder.display())))
}

/// A path in the one way in which the store and history know its folder, however it was given: no
/// `/` at its end, no `..`. Links stay: the folder may move behind them.
fn written_once(path: &Path) -> PathBuf {
    let has_parents = path.components().any(|part| part == Component::ParentDir);
    match has_parents.then(|| path.canonicalize()) {
        Some(Ok(canonical)) => canonical,
        _ => path.components().collect(),
    }
}

/// The nearest release folder: this one, or the first above it.
pub fn nearest() -> Result<HostPath, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::error(Kind::Machine, "working-folder", &error))?;
    here.ancestors()
        .find(|folder| folder.join("release.toml").is_file())
        .map(HostPath::new)
        .ok_or_else(|| {
            Failure::input("no-release", "no release.toml here or in any folder above")
                .hint("name the release folder: `perestroika COMMAND path/to/release`")
        })
}

/// A release read from its folder.
pub struct Release {
    /// The folder.
    pub folder: HostPath,
    /// What its specs say.
    pub spec: Spec,
    /// What it is pinned to; empty if it has no release.lock yet.
    pub lock: Option<Lock>,
}

impl Release {
    /// Reads the folder: pure and offline.
    pub fn load(folder: &HostPath) -> Result<Self, Failure> {
        let lock = read_lock(folder)?;
        Self::load_kept(folder, lock, Kept::open(folder).as_ref())
    }

    /// The same with a lock that was read, and what earlier runs kept.
    pub fn load_kept(
        folder: &HostPath,
        lock: Option<Lock>,
        kept: Option<&Kept>,
    ) -> Result<Self, Failure> {
        let loader = Arc::new(Folder::new(folder.clone()));
        let spec = spec::load_with(loader, lock.as_ref(), kept.map(Kept::cache));
        if let Some(kept) = kept {
            kept.write();
        }
        let spec = spec.map_err(|diagnostics| Failure::in_release(folder, diagnostics))?;
        Ok(Self { folder: folder.clone(), spec, lock })
    }

    /// Reads as much of the folder as can be read, and says what is wrong with the rest.
    pub fn survey(folder: &HostPath) -> Result<Surveyed, Failure> {
        let lock = read_lock(folder)?;
        let loader = Arc::new(Folder::new(folder.clone()));
        let kept = Kept::open(folder);
        let spec::Survey { spec, lacks, wrong } =
            spec::survey(loader, lock.as_ref(), kept.as_ref().map(Kept::cache));
        if let Some(kept) = kept {
            kept.write();
        }
        let release = spec.map(|spec| Self { folder: folder.clone(), spec, lock });
        Ok(Surveyed { release, lacks, wrong: Failure::in_release(folder, wrong).problems })
    }

    /// Its names in the documents that `--json` prints.
    pub fn document(&self, graph: &Graph) -> Value {
        let release = &self.spec.release;
        json!({
            "name": release.name,
            "version": release.version,
            "id": graph.release().to_string(),
        })
    }

    /// The same with the name of what was built; null if not all of it was.
    pub fn built_document(&self, graph: &Graph, manifest: Option<Digest>) -> Value {
        let mut document = self.document(graph);
        document["manifest"] = manifest.map(|digest| digest.to_string()).into();
        document
    }

    /// The graph of its packages.
    pub fn graph(&self) -> Result<Graph, Failure> {
        let empty = Lock::default();
        lower(&self.spec, self.lock.as_ref().unwrap_or(&empty)).map_err(|wrong| {
            let (unpinned, wrong): (Vec<_>, Vec<_>) =
                wrong.into_iter().partition(|error| error.code == "unpinned");
            let missing = if unpinned.is_empty() { Vec::new() } else { self.missing() };
            let mut told = if missing.is_empty() { unpinned } else { pin::told(&missing) };
            told.extend(wrong);
            Failure::in_release(&self.folder, told)
        })
    }

    /// What the lock lacks of what the release needs.
    fn missing(&self) -> Vec<Stale> {
        use pin::Kind::{Absent, Missing, Moved};
        let mut stale = pin::check(&self.folder, &self.spec, self.lock.as_ref());
        stale.retain(|stale| matches!(stale.kind, Absent | Missing | Moved));
        stale
    }
}

/// As much of a release as can be read.
pub struct Surveyed {
    /// The release; none if its release.toml does not hold.
    pub release: Option<Release>,
    /// Whether packages are missing from it that a spec has or may have.
    pub lacks: bool,
    /// What is wrong with the rest.
    pub wrong: Vec<Problem>,
}

impl Surveyed {
    /// What is stale about the pins. What seems to be pinned without need is not, where a spec
    /// could not be read.
    pub fn stale(&self) -> Vec<Stale> {
        let Some(release) = &self.release else { return Vec::new() };
        let mut stale = pin::check(&release.folder, &release.spec, release.lock.as_ref());
        stale.retain(|one| !(self.lacks && one.kind == pin::Kind::Unused));
        stale
    }
}

/// What to do about a lock that cannot be read.
const NOT_BY_HAND: &str = "only `perestroika lock` and `update` write it: bring the old one back";

/// The lock of a release folder, if it has one.
pub fn read_lock(folder: &HostPath) -> Result<Option<Lock>, Failure> {
    let path = folder.join("release.lock");
    if std::fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
        return Err(Failure::input("kind", format!("`{path}` is no file")));
    }
    match std::fs::read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => lock::parse(&text).map(Some).map_err(|wrong| {
            let hinted = wrong.into_iter().map(|one| match one.hints.is_empty() {
                true => one.hint(NOT_BY_HAND),
                false => one,
            });
            Failure::in_release(folder, hinted.collect())
        }),
        Ok(Err(_)) => Err(Failure::input("encoding", format!("`{path}` is not UTF-8"))
            .hint(addressed(NOT_BY_HAND, folder))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(path: &HostPath, error: &std::io::Error) -> Failure {
    Failure::input("unreadable", format!("cannot read `{path}`: {error}"))
}

impl Release {
    /// Refuses a release whose lock lacks something: what is built is what is pinned.
    pub fn check_pins(&self) -> Result<(), Failure> {
        match self.missing() {
            missing if missing.is_empty() => Ok(()),
            missing => {
                let told = Failure::in_release(&self.folder, pin::told(&missing));
                Err(Failure { kind: Kind::Result, ..told })
            }
        }
    }

    /// Checks the names of build dependencies against the pinned archives, as far as their
    /// indexes can be had; where they cannot, that is said. Gives whether they all could.
    pub fn check_names(
        &self,
        graph: &Graph,
        world: &World<'_>,
        snapshots: &Snapshots,
        output: &Output,
    ) -> Result<bool, Failure> {
        let (mut found, mut all) = (BTreeMap::new(), true);
        for node in graph.nodes() {
            if let Origin::Root { archive, .. } = &node.origin {
                match snapshots.get(world, graph, node.id) {
                    Ok(snapshot) => {
                        found.insert(node.id, snapshot);
                    }
                    Err(_) => {
                        output.note(&format!("names not checked against `{archive}`"));
                        all = false;
                    }
                }
            }
        }
        let indexes = found.iter().map(|(id, snapshot)| (*id, &*snapshot.indexes)).collect();
        let mut unknown = names::unknown_in_roots(&self.spec, graph, &indexes);
        unknown.extend(names::unknown(graph, &indexes, Extent::Whole));
        match unknown {
            unknown if unknown.is_empty() => Ok(all),
            unknown => Err(Failure::in_release(&self.folder, unknown)),
        }
    }
}

/// What to do where the store cannot be.
const NAME_STORE: &str = "name a folder for it: `--store DIR` or PERESTROIKA_STORE";

/// The store that the flags, the environment or the user's data folder name.
pub fn store_folder(global: &Global) -> Result<HostPath, Failure> {
    if let Some(folder) = &global.store {
        return Ok(HostPath::new(folder));
    }
    let data: PathBuf =
        etcetera::choose_base_strategy().map(|strategy| strategy.data_dir()).map_err(|_| {
            Failure::new(Kind::Machine, "no-home", "there is no home folder for the store")
                .hint(NAME_STORE)
        })?;
    Ok(HostPath::new(data.join("perestroika")))
}

/// What the stores that were opened found damaged.
static DAMAGE: Mutex<Vec<Arc<Mutex<Vec<Damage>>>>> = Mutex::new(Vec::new());

/// Opens the store, creating it if need be.
pub fn open_store(global: &Global) -> Result<Store, Failure> {
    opened(Store::open(&store_folder(global)?))
}

/// The same for commands that only look: a store that cannot be written is opened to be read, and
/// whatever would write to it after all says so.
pub fn open_store_to_look(global: &Global) -> Result<Store, Failure> {
    let folder = store_folder(global)?;
    opened(match Store::open(&folder) {
        Err(error) if error.is_read_only() => Store::open_to_read(&folder).map_err(|_| error),
        opened => opened,
    })
}

fn opened(store: store::Result<Store>) -> Result<Store, Failure> {
    let store = store.map_err(|error| {
        let failure = Failure::error(Kind::Machine, "store", &error);
        match &error {
            store::Error::System { source, .. } if source.kind() == PermissionDenied => {
                failure.hint(NAME_STORE)
            }
            _ => failure,
        }
    })?;
    DAMAGE.lock().unwrap_or_else(PoisonError::into_inner).push(store.damage());
    Ok(store)
}

/// Says what of the store was found damaged by this run.
pub fn tell_damage(output: &Output) {
    for damage in DAMAGE.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        for one in damage.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let aside = one.aside.map(|aside| format!(" (put aside as {aside})"));
            output.note(&format!(
                "warning: `{}` was damaged: {}{}; it is fetched or built again when it is needed",
                one.path,
                one.what,
                aside.unwrap_or_default()
            ));
        }
    }
}

/// What building needs beside the release itself: store, sandbox, mirrors, the way to stop.
pub struct Machine {
    store: Store,
    executor: Runner,
    upstream: Upstream,
    retries: Retries,
    capsules: CapsuleLimits,
    folder: HostPath,
    cancel: Arc<AtomicBool>,
}

impl Machine {
    /// Opens everything; fetches nothing.
    pub fn open(release: &Release, global: &Global) -> Result<Self, Failure> {
        let store = open_store_to_look(global)?;
        let choice = Choice::new(global, &Config::load()?, Some(&release.spec.release))?;
        let executor = Runner::open(choice, store.root(), Enforcement::Best, global)?;
        let lock = release.lock.clone().unwrap_or_default();
        let mirrors = mirrors(release, global)?;
        let upstream = Upstream::new(release.folder.clone(), lock, client(global), mirrors);
        Ok(Self {
            store,
            executor,
            upstream,
            retries: Retries::default(),
            capsules: CapsuleLimits::default(),
            folder: release.folder.clone(),
            cancel: cancel_on_interrupt()?,
        })
    }

    /// The same machine for a release whose lock is not written yet, and rests on these files.
    pub fn with_evidence(self, evidence: BTreeMap<String, Vec<u8>>) -> Self {
        Self { upstream: self.upstream.with_evidence(evidence), ..self }
    }

    /// The same machine, whose sandbox runs nothing unless limits are enforced like this. Fails
    /// if they cannot be.
    pub fn enforcing(self, enforcement: Enforcement, global: &Global) -> Result<Self, Failure> {
        let (choice, home) = (self.executor.choice(), self.store.root());
        let executor = Runner::open(choice, home, enforcement, global)?;
        if enforcement == Enforcement::ControlGroup {
            executor.check_limits().map_err(|error| match error {
                sandbox::Error::Engine { .. } => engine_failed(&error),
                _ => Failure::error(Kind::Machine, "limits", &error)
                    .hint("`perestroika doctor` looks again; `require_limits` demands it"),
            })?;
        }
        Ok(Self { executor, ..self })
    }

    /// The same machine, whose faults are met, and whose failed builds are kept, like this.
    pub fn failing(self, retries: Retries, capsules: CapsuleLimits) -> Self {
        Self { retries, capsules, ..self }
    }

    /// What runs guests.
    pub fn executor(&self) -> &Runner {
        &self.executor
    }

    /// Refuses to begin where no guest could be run.
    pub fn ready(&self) -> Result<(), Failure> {
        self.executor.begin().map_err(|error| engine_failed(&error))
    }

    /// Runs a request with the caller at its command; without a session its output is caught
    /// instead, and it has no input.
    pub fn enter(
        &self,
        request: &Request,
        session: Option<Session>,
    ) -> sandbox::Result<(Outcome, String)> {
        match session {
            Some(session) => {
                let outcome = self.executor.enter(request, session, &self.cancel)?;
                Ok((outcome, String::new()))
            }
            None => {
                let mut output = Vec::new();
                let outcome = self.executor.run(request, &mut output, &self.cancel)?;
                Ok((outcome, String::from_utf8_lossy(&output).into_owned()))
            }
        }
    }

    /// All of it, as builds want it.
    pub fn world(&self) -> World<'_> {
        World {
            store: &self.store,
            executor: &self.executor,
            upstream: &self.upstream,
            retries: self.retries,
            capsules: self.capsules,
            folder: &self.folder,
            cancel: &self.cancel,
        }
    }
}

/// The client that the flags ask for.
pub fn client(global: &Global) -> Client {
    let network = if global.offline { Network::Offline } else { Network::Online };
    Client::new(network, Patience::default())
}

/// Where each archive of a release may be fetched from.
pub fn mirrors(release: &Release, global: &Global) -> Result<Vec<Mirrors>, Failure> {
    let archives = &release.spec.release.archives;
    for (archive, _) in &global.mirror {
        if !archives.contains_key(archive) {
            let known = archives.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            return Err(Failure::input(
                "unknown-archive",
                format!("`--mirror` names archive `{archive}`, which the release does not have"),
            )
            .hint(format!("it has {}", known.join(", "))));
        }
    }
    let places = Places::of_this_host();
    archives
        .iter()
        .map(|(name, archive)| {
            let keyring = keyring(release, archive)?;
            let given = global
                .mirror
                .iter()
                .filter(|(archive, _)| archive == name)
                .map(|(_, url)| url.clone())
                .collect();
            Ok(Mirrors::new(Search {
                archive: name.clone(),
                suites: archive.suites.clone(),
                keyring,
                given,
                release: archive.mirrors.clone(),
                places: places.clone(),
            }))
        })
        .collect()
}

fn keyring(release: &Release, archive: &Archive) -> Result<Vec<u8>, Failure> {
    let Located { value, span } = &archive.keyring;
    let refuse = |message: String| {
        let place = "the OpenPGP keys of which one must have signed the archive";
        let diagnostic = Diagnostic::new("no-keyring", message).at(span.clone(), place);
        Failure::in_release(&release.folder, vec![diagnostic])
    };
    let keys = std::fs::read(release.folder.join(value.as_str()))
        .map_err(|error| refuse(format!("cannot read the keyring `{value}`: {error}")))?;
    match signature::check_keyring(&keys, jiff::Timestamp::now()) {
        Ok(()) => Ok(keys),
        Err(refusal) => Err(refuse(format!("`{value}`: {refusal}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_folder_has_one_path_however_it_is_written() {
        let keep = tempfile::tempdir().expect("a temporary folder");
        let folder = keep.path().join("release");
        std::fs::create_dir_all(folder.join("sub")).expect("a writable folder");
        std::fs::write(folder.join("release.toml"), "").expect("a writable folder");
        let path = |text: &str| release_folder(&keep.path().join(text)).expect("a release");
        for written in ["release", "release/", "release//", "./release/.", "release/sub/.."] {
            let canonical = path(written).as_path().canonicalize().expect("it is there");
            assert_eq!(path(written).to_string(), canonical.display().to_string(), "{written}");
        }
    }
}
