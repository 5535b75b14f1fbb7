use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::api::layer::Below;
use super::api::{Dirs, World};
use super::cache::{Cache, Fate, Footprint, Opened, Record, Recorder};
use super::engine::{Evaluated, STACK, Session};
use super::extends::{self, Link};
use super::loader::{self, Folder, Loader};
use super::lock::Lock;
use super::model::{Extended, Located, Package, Remote, Spec};
use super::parameters;
use super::release::Release;
use super::stdlib;
use crate::base::{
    Architecture, Diagnostic, HostPath, PackageName, ReleaseFolder, ReleasePath, Sha256, nearest,
};

/// Reads the release in `folder`: release.toml, and every spec file, layer above layer; those of
/// the releases that it extends are the lowest. With a lock, the stdlib modules that it pins are
/// evaluated as `release.lock.d/stdlib/` keeps them.
///
/// # Errors
/// Everything wrong with all files together, sorted by place.
pub fn load(folder: &HostPath, lock: Option<&Lock>) -> Result<Spec, Vec<Diagnostic>> {
    load_from(Arc::new(Folder::new(folder.clone())), lock)
}

/// The same for a release that is read through `loader`.
pub fn load_from(loader: Arc<dyn Loader>, lock: Option<&Lock>) -> Result<Spec, Vec<Diagnostic>> {
    load_with(loader, lock, None)
}

/// The same, with what earlier runs left and this one leaves to later ones.
pub fn load_with(
    loader: Arc<dyn Loader>,
    lock: Option<&Lock>,
    cache: Option<&Cache>,
) -> Result<Spec, Vec<Diagnostic>> {
    match survey(loader, lock, cache) {
        Survey { spec: Some(spec), wrong, .. } if wrong.is_empty() => Ok(spec),
        Survey { wrong, .. } => Err(wrong),
    }
}

/// As much of a release as can be read.
#[derive(Debug)]
pub struct Survey {
    /// Its release.toml and the packages with which nothing is wrong; nothing if its release.toml
    /// does not hold.
    pub spec: Option<Spec>,
    /// Whether packages are missing from it that a spec has or may have.
    pub lacks: bool,
    /// Everything wrong with all files together, sorted by place.
    pub wrong: Vec<Diagnostic>,
}

/// As much of a release as can be read, whatever is wrong with the rest.
pub fn survey(loader: Arc<dyn Loader>, lock: Option<&Lock>, cache: Option<&Cache>) -> Survey {
    let (stack, extends) = match evaluated(loader, lock, Specs::All, Top::Last, cache) {
        Ok(evaluated) => evaluated,
        Err(wrong) => return Survey { spec: None, lacks: true, wrong },
    };
    let Stack { release, packages, pins, used, remotes, mut errors, footprint, .. } = stack;
    errors.sort_by_key(|error| error.places.first().map(|place| place.span.clone()));
    // A mistake in a module of `lib/` shows in every file that imports it.
    errors.dedup();
    let packages = packages.into_values().collect();
    let unpinned = unpinned(&remotes, &pins);
    let release = Release::clone(&release);
    let spec = Spec { release, packages, stdlib: used, remotes, unpinned, extends, footprint };
    let holds = stack.holds;
    Survey { spec: holds.then_some(spec), lacks: stack.lacks, wrong: errors }
}

/// What changed of a release since its footprint was taken.
pub struct Since<'a> {
    stack: Stack<'a>,
    /// What the spec files that are new, or not what they were, came to.
    pub changed: Spec,
    /// The footprint of what is there now.
    pub footprint: Footprint,
    /// The packages of the spec files that are as they were.
    pub kept: BTreeSet<PackageName>,
    /// Whether nothing at all is new.
    pub as_before: bool,
}

/// How many spec files may have changed for [`since`] to be quicker than [`load_with`].
const FEW: usize = 200;

/// Compares a release with its footprint, and evaluates what changed alone. Nothing if that is
/// not all, or too much: if release.toml, the stdlib or a pin is another one, for releases of
/// several layers, and where something is wrong with a spec.
pub fn since<'a>(
    loader: Arc<dyn Loader>,
    lock: Option<&Lock>,
    cache: &'a Cache,
    footprint: &Footprint,
) -> Option<Since<'a>> {
    let (mut stack, extends) = evaluated(loader, lock, Specs::None, Top::Last, Some(cache)).ok()?;
    let key = stack.cache?.key(&stack.world(false), &stack.modules);
    if !extends.is_empty() || !stack.errors.is_empty() || !footprint.is_of(key) {
        return None;
    }
    let compared = footprint.compare(&stack.files, &*stack.loader, cache.now());
    if compared.stale.len() > FEW {
        return None;
    }
    let kept: BTreeSet<PackageName> = compared.kept.packages().cloned().collect();
    let (changed, new) = stack.only(&compared.stale, None)?;
    let twice = changed.packages.iter().any(|package| kept.contains(&package.name));
    if twice {
        return None;
    }
    let as_before = compared.as_before;
    Some(Since { stack, changed, footprint: compared.kept.and(new), kept, as_before })
}

impl Since<'_> {
    /// What the spec files of these packages came to; nothing if that cannot be had.
    pub fn packages(&mut self, wanted: impl Fn(&PackageName) -> bool) -> Option<Spec> {
        let files: Vec<ReleasePath> = self.footprint.files_of(wanted).cloned().collect();
        let cache = self.stack.cache;
        Some(self.stack.only(&files, cache)?.0)
    }
}

/// What an expression is evaluated in: the layer above all of a release, and the stdlib. Its specs
/// are only evaluated if the expression may ask for a package of them.
pub(super) fn above(
    loader: Arc<dyn Loader>,
    lock: Option<&Lock>,
    specs: Specs,
) -> Result<(World, Vec<Module>), Vec<Diagnostic>> {
    let (mut stack, _) = evaluated(loader, lock, specs, Top::Expression, None)?;
    if !stack.errors.is_empty() {
        return Err(stack.errors);
    }
    let modules = std::mem::take(&mut stack.modules);
    Ok((stack.world(false), modules))
}

/// A stdlib module: its name, file and text.
type Module = (String, ReleasePath, String);

/// Which specs are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Specs {
    /// Those of all layers.
    All,
    /// None.
    None,
}

/// What stands above all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Top {
    /// Nothing.
    Last,
    /// An expression.
    Expression,
}

/// The layers of a release, evaluated, and the releases that it extends.
fn evaluated<'a>(
    loader: Arc<dyn Loader>,
    lock: Option<&Lock>,
    wanted: Specs,
    top: Top,
    cache: Option<&'a Cache>,
) -> Result<(Stack<'a>, Vec<Extended>), Vec<Diagnostic>> {
    // Bad specs are reported beside a bad release.toml only if that is good enough to go on.
    let (links, mut wrong) = extends::chain(&*loader)?;
    let together = |wrong: &[Diagnostic], more: Vec<Diagnostic>| [wrong, &more].concat();
    let extends = extends::extended(&*loader, &links).map_err(|errors| together(&wrong, errors))?;
    let modules = modules(&*loader, lock, &extends).map_err(|errors| together(&wrong, errors))?;
    let mut layers = Vec::new();
    for Link { folder, release } in &links {
        let specs = loader.specs(folder);
        let specs = specs.map_err(|error| {
            together(&wrong, vec![Diagnostic::new("unreadable", error.to_string())])
        })?;
        if specs.is_empty() && release.extends.is_none() {
            let message = "the release has no spec: no `*.rhai` at its top or below `packages/`";
            let hint = "`rebuild(\"hello\")` is one, in a file such as `packages/hello.rhai`";
            return Err(together(&wrong, vec![Diagnostic::new("no-specs", message).hint(hint)]));
        }
        layers.push(Layer::Specs(specs));
        layers.extend(release.overlays.iter().map(Layer::Overlay));
        layers.push(Layer::Without(&release.without));
    }
    let architectures = links.iter().flat_map(|link| &link.release.architectures).cloned();
    let mut stack = Stack {
        // What is kept are packages, not what layers above would change.
        cache: cache.filter(|_| layers.iter().filter(|layer| !layer.is_empty()).count() == 1),
        loader,
        modules,
        release: Arc::new(
            links.last().expect("a release is the last of its chain").release.clone(),
        ),
        architectures: Arc::new(architectures.collect()),
        pins: Arc::new(pins(lock, &extends)),
        dirs: Arc::default(),
        packages: BTreeMap::new(),
        below: None,
        used: BTreeSet::new(),
        remotes: Vec::new(),
        holds: wrong.is_empty(),
        lacks: false,
        errors: Vec::new(),
        files: Vec::new(),
        footprint: None,
    };
    stack.errors.append(&mut wrong);
    stack.files = layers.iter().flat_map(Layer::files).cloned().collect();
    stack.errors.extend(parameters::misspelt(&*stack.loader, &links, &stack.files));
    let last = layers.iter().rposition(|layer| !layer.is_empty());
    if wanted == Specs::All {
        for (index, layer) in layers.iter().enumerate() {
            let above = top == Top::Expression || last.is_some_and(|last| index < last);
            stack.put(layer, above)?;
        }
    }
    Ok((stack, extends))
}

/// What changes the packages of the layers below it.
enum Layer<'a> {
    /// The spec files of a release.
    Specs(Vec<ReleasePath>),
    /// A file of `overlays`.
    Overlay(&'a Located<ReleasePath>),
    /// The packages that a release leaves out.
    Without(&'a [Located<PackageName>]),
}

impl Layer<'_> {
    /// Its spec files.
    fn files(&self) -> &[ReleasePath] {
        match self {
            Self::Specs(specs) => specs,
            Self::Overlay(at) => std::slice::from_ref(&at.value),
            Self::Without(_) => &[],
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Specs(specs) => specs.is_empty(),
            Self::Overlay(_) => false,
            Self::Without(names) => names.is_empty(),
        }
    }
}

/// The layers evaluated so far.
struct Stack<'a> {
    cache: Option<&'a Cache>,
    loader: Arc<dyn Loader>,
    modules: Vec<(String, ReleasePath, String)>,
    release: Arc<Release>,
    architectures: Arc<BTreeSet<Architecture>>,
    pins: Arc<Lock>,
    dirs: Arc<Dirs>,
    /// Shared: an ordered map moves what it holds about, and packages are large.
    packages: BTreeMap<PackageName, Arc<Package>>,
    /// The same for `prev`; nothing before the first layer.
    below: Option<Arc<Below>>,
    used: BTreeSet<String>,
    remotes: Vec<Located<Remote>>,
    /// Whether nothing is wrong with any release.toml.
    holds: bool,
    /// Whether a spec came to less than it says.
    lacks: bool,
    errors: Vec<Diagnostic>,
    /// The spec files of all layers.
    files: Vec<ReleasePath>,
    /// That of the specs, where results are kept.
    footprint: Option<Footprint>,
}

impl Stack<'_> {
    /// Puts a layer above; `above` says whether it is not the last one.
    fn put(&mut self, layer: &Layer<'_>, above: bool) -> Result<(), Vec<Diagnostic>> {
        match layer {
            Layer::Without(names) => self.remove(names),
            Layer::Specs(specs) => self.evaluate(specs, above)?,
            Layer::Overlay(at) => {
                // A spec that is not there has no place of its own.
                match self.loader.read(&at.value, loader::MAX_TEXT) {
                    Ok(_) => self.evaluate(std::slice::from_ref(&at.value), above)?,
                    Err(error) => {
                        let (message, near) = match error {
                            loader::Error::Missing(_) => {
                                (format!("there is no `{}`", at.value), self.loader.near(&at.value))
                            }
                            error => (error.to_string(), None),
                        };
                        let error = Diagnostic::new("unreadable", message);
                        let error = error.at(at.span.clone(), "an overlay");
                        self.errors.push(match near {
                            Some(near) => error.hint(format!("did you mean `{near}`?")),
                            None => error,
                        });
                        self.lacks = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// What the next layer is evaluated in.
    fn world(&self, above: bool) -> World {
        World {
            loader: Arc::clone(&self.loader),
            release: Arc::clone(&self.release),
            architectures: Arc::clone(&self.architectures),
            pins: Arc::clone(&self.pins),
            dirs: Arc::clone(&self.dirs),
            below: self.below.clone(),
            above,
        }
    }

    fn evaluate(&mut self, files: &[ReleasePath], above: bool) -> Result<(), Vec<Diagnostic>> {
        let world = Arc::new(self.world(above));
        let mut packages: BTreeMap<PackageName, Arc<Package>> = BTreeMap::new();
        let (mut drafts, mut missing) = (Vec::new(), false);
        let files = match self.cache {
            None => evaluate(&world, &self.modules, files, None)?,
            Some(cache) => {
                let key = cache.key(&world, &self.modules);
                let opened = cache.open(key, &*self.loader);
                let record = Arc::new(opened.record());
                let mut found = evaluate(&world, &self.modules, files, Some((&opened, &record)))?;
                let fates = found.iter_mut().map(File::fate).collect();
                self.footprint = opened.close(fates, &record);
                found
            }
        };
        for File { result: mut file, .. } in files {
            self.lacks |= !file.errors.is_empty();
            self.errors.append(&mut file.errors);
            self.used.append(&mut file.stdlib);
            missing |= file.remotes.iter().any(|remote| !remote.value.is_pinned(&self.pins));
            self.remotes.append(&mut file.remotes);
            drafts.append(&mut file.drafts);
            for package in file.packages {
                match packages.get(&package.name) {
                    Some(first) => self.errors.push(twice(first, &package)),
                    None => {
                        packages.insert(package.name.clone(), Arc::new(package));
                    }
                }
            }
        }
        drop(world);
        if self.packages.is_empty() {
            self.packages = packages;
        } else {
            self.packages.append(&mut packages);
        }
        let mut below = self.take_below();
        below.broken |= missing || self.lacks;
        below.packages.extend(drafts.into_iter().filter_map(|draft| Some((draft.name()?, draft))));
        self.below = Some(Arc::new(below));
        Ok(())
    }

    fn remove(&mut self, names: &[Located<PackageName>]) {
        let mut below = self.take_below();
        for Located { value: name, span } in names {
            let there = self.packages.remove(name).is_some();
            if below.packages.remove(name).is_some() || there || below.broken {
                continue;
            }
            let message = format!("`without` names `{name}`, which no layer has");
            let error = Diagnostic::new("unknown-package", message).at(span.clone(), "");
            let known = self.packages.keys().map(PackageName::as_str);
            self.errors.push(match nearest(name.as_str(), known) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        self.below = Some(Arc::new(below));
    }

    /// What some of the spec files come to, kept or evaluated, and their footprint; nothing if
    /// something is wrong with them.
    fn only(&mut self, files: &[ReleasePath], cache: Option<&Cache>) -> Option<(Spec, Footprint)> {
        // What was read for others is read again, to be noted for these.
        let world = Arc::new(World { dirs: Arc::default(), ..self.world(false) });
        let own = self.cache?;
        let key = own.key(&world, &self.modules);
        let none = Cache::new(Vec::new, &[], own.now());
        let opened = cache.unwrap_or(&none).open(key, &*self.loader);
        let record = Arc::new(opened.record());
        let mut found = match files {
            [] => Vec::new(),
            files => evaluate(&world, &self.modules, files, Some((&opened, &record))).ok()?,
        };
        let fates = found.iter_mut().map(File::fate).collect();
        let footprint = opened.footprint(fates, &record)?;
        let mut packages = BTreeMap::new();
        let (mut stdlib, mut remotes) = (BTreeSet::new(), Vec::new());
        for File { result: mut file, .. } in found {
            stdlib.append(&mut file.stdlib);
            remotes.append(&mut file.remotes);
            for package in file.packages {
                if !file.errors.is_empty() || packages.contains_key(&package.name) {
                    return None;
                }
                packages.insert(package.name.clone(), Arc::new(package));
            }
        }
        let spec = Spec {
            release: Release::clone(&self.release),
            packages: packages.into_values().collect(),
            stdlib,
            unpinned: unpinned(&remotes, &self.pins),
            remotes,
            extends: Vec::new(),
            footprint: None,
        };
        Some((spec, footprint))
    }

    /// What is below the next layer, to be changed: no thread has it any more.
    fn take_below(&mut self) -> Below {
        self.below.take().map(Arc::unwrap_or_clone).unwrap_or_default()
    }
}

/// What the lock says of sources from elsewhere; what an extended release pins is taken from it.
fn pins(lock: Option<&Lock>, extends: &[Extended]) -> Lock {
    let mut pins = Lock::default();
    let base = extends.first().and_then(|extended| extended.lock.as_ref());
    for lock in [lock, base].into_iter().flatten() {
        pins.git.extend(lock.git.clone());
        pins.downloads.extend(lock.downloads.clone());
    }
    pins
}

/// What the lock does not pin, each once.
fn unpinned(remotes: &[Located<Remote>], pins: &Lock) -> Vec<Located<Remote>> {
    let mut known = BTreeSet::new();
    let missing = remotes.iter().filter(|remote| !remote.value.is_pinned(pins));
    missing.filter(|remote| known.insert(&remote.value)).cloned().collect()
}

fn twice(first: &Package, second: &Package) -> Diagnostic {
    let at = |package: &Package| package.fields.get("name").unwrap_or(&package.span).clone();
    Diagnostic::new("duplicate-package", format!("the package `{}` is there twice", first.name))
        .at(at(second), "here")
        .at(at(first), "and here")
        .hint("a layer has one package of a name; `overlays` in release.toml are layers above")
}

/// Name, file and text of each stdlib module: the pinned copy where there is one, else that of
/// the nearest release that is extended.
fn modules(
    loader: &dyn Loader,
    lock: Option<&Lock>,
    extends: &[Extended],
) -> Result<Vec<(String, ReleasePath, String)>, Vec<Diagnostic>> {
    let mut modules: BTreeMap<String, (ReleasePath, String)> = stdlib::MODULES
        .iter()
        .map(|(name, text)| {
            let file = format!("stdlib/{name}.rhai");
            let file = file.parse().expect("module names are plain file names");
            ((*name).to_owned(), (file, (*text).to_owned()))
        })
        .collect();
    let mut errors = Vec::new();
    let own = ReleaseFolder::default();
    let extended = extends.iter().rev().filter_map(|one| Some((&one.folder, one.lock.as_ref()?)));
    let locks = extended.chain(lock.map(|lock| (&own, lock)));
    let pins: BTreeMap<&String, (&ReleaseFolder, &Sha256)> = locks
        .flat_map(|(folder, lock)| lock.stdlib.iter().map(move |(name, pin)| (name, (folder, pin))))
        .collect();
    for (name, (folder, expected)) in pins {
        let file = format!("release.lock.d/stdlib/{name}.rhai");
        match pinned(loader, folder, &file, expected) {
            Ok(found) => {
                modules.insert(name.clone(), found);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(modules.into_iter().map(|(name, (file, text))| (name, file, text)).collect())
}

fn pinned(
    loader: &dyn Loader,
    folder: &ReleaseFolder,
    file: &str,
    expected: &Sha256,
) -> Result<(ReleasePath, String), Diagnostic> {
    let hint = "`perestroika update stdlib` pins this program's own anew";
    let path: ReleasePath = file
        .parse()
        .map_err(|_| Diagnostic::new("stale-lock", format!("`{file}` is no path of a module")))?;
    let path = folder.path(&path);
    let bytes = loader
        .read(&path, loader::MAX_TEXT)
        .map_err(|error| Diagnostic::new("stale-lock", error.to_string()).hint(hint))?;
    let found = Sha256::of(&bytes);
    if found != *expected {
        let message = format!(
            "`{path}` is not what release.lock pins\n  expected {expected}\n  found    {found}"
        );
        return Err(Diagnostic::new("stale-lock", message).hint(hint));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((path, text)),
        Err(_) => Err(Diagnostic::new("stale-lock", format!("`{path}` is not UTF-8")).hint(hint)),
    }
}

/// Evaluates the files on as many threads as are worth it, but for what is kept of them; the
/// results come in the files' order.
fn evaluate(
    world: &Arc<World>,
    modules: &[(String, ReleasePath, String)],
    specs: &[ReleasePath],
    cache: Option<(&Opened<'_>, &Arc<Record>)>,
) -> Result<Vec<File>, Vec<Diagnostic>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(specs.len().div_ceil(8)).max(1);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, File)>> = Mutex::default();
    let failed: Mutex<Option<Diagnostic>> = Mutex::default();
    let work = || {
        let mut session = None;
        let mut done = Vec::new();
        while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed))
            && let Some(path) = specs.get(index)
        {
            if let Some((result, fate)) = cache.and_then(|(opened, _)| opened.get(path)) {
                done.push((index, File { result, fate }));
                continue;
            }
            let session = match &session {
                Some(session) => session,
                None => match Thread::new(world, modules, cache.map(|(_, record)| record)) {
                    Ok(started) => session.insert(started),
                    Err(error) => {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                },
            };
            done.push((index, session.run(path)));
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut done);
    };
    let started = thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        (0..threads).map(spawn).filter(Result::is_ok).count()
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    if let Some(error) = failed {
        return Err(vec![error]);
    }
    if started == 0 {
        return Err(vec![Diagnostic::new(
            "machine",
            "no thread could be started to evaluate specs",
        )]);
    }
    Ok(results.into_iter().map(|(_, file)| file).collect())
}

/// What a file came to, and what of it is kept.
struct File {
    result: Evaluated,
    fate: Fate,
}

impl File {
    /// What is kept of it, and the names of its packages.
    fn fate(&mut self) -> (Fate, Vec<PackageName>) {
        let names = self.result.packages.iter().map(|package| package.name.clone()).collect();
        (std::mem::take(&mut self.fate), names)
    }
}

/// What evaluates on one thread.
struct Thread {
    session: Session,
    recorder: Option<Arc<Recorder>>,
}

impl Thread {
    fn new(
        world: &Arc<World>,
        modules: &[(String, ReleasePath, String)],
        record: Option<&Arc<Record>>,
    ) -> Result<Self, Diagnostic> {
        let Some(record) = record else {
            let session = Session::new(Arc::clone(world), modules)?;
            return Ok(Self { session, recorder: None });
        };
        let recorder = Arc::new(Recorder::new(Arc::clone(&world.loader), Arc::clone(record)));
        let loader: Arc<dyn Loader> = Arc::<Recorder>::clone(&recorder);
        let world = World { loader, ..World::clone(world) };
        let session = Session::new(Arc::new(world), modules)?;
        Ok(Self { session, recorder: Some(recorder) })
    }

    fn run(&self, path: &ReleasePath) -> File {
        let result = self.session.run(path);
        let fate = match &self.recorder {
            Some(recorder) => recorder.fate(path, &result),
            None => Fate::Forgotten,
        };
        File { result, fate }
    }
}
