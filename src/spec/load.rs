use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::api::World;
use super::cache::{Cache, Fate, Opened, Record, Recorder};
use super::engine::{Evaluated, STACK, Session};
use super::loader::{self, Folder, Loader};
use super::lock::Lock;
use super::model::{Located, Package, Remote, Spec};
use super::release::{self, Release};
use super::stdlib;
use crate::base::{Diagnostic, HostPath, PackageName, ReleasePath, Sha256};

/// Reads the release in `folder`: release.toml, and every spec file. With a lock, the stdlib
/// modules that it pins are evaluated as `release.lock.d/stdlib/` keeps them.
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
    let file = super::document::top_file(release::FILE);
    let text = match loader.read(&file, loader::MAX_TEXT).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            return Err(vec![Diagnostic::new("unreadable", "`release.toml` is not UTF-8")]);
        }
        Err(error) => {
            return Err(vec![
                Diagnostic::new("unreadable", error.to_string())
                    .hint("a release is a folder with a `release.toml`"),
            ]);
        }
    };
    // Bad specs are reported beside a bad release.toml only if that is good enough to go on.
    let release = release::parse(&text)?;
    let modules = modules(&*loader, lock)?;
    let specs =
        loader.specs().map_err(|error| vec![Diagnostic::new("unreadable", error.to_string())])?;
    let release = Arc::new(release);
    let pins = lock.map(|lock| Lock {
        git: lock.git.clone(),
        downloads: lock.downloads.clone(),
        ..Lock::default()
    });
    let world = Arc::new(World {
        loader,
        release: Arc::clone(&release),
        pins: Arc::new(pins.unwrap_or_default()),
        dirs: Arc::default(),
    });
    let files = match cache {
        None => evaluate(&world, &modules, &specs, None)?,
        Some(cache) => {
            let key = cache.key(&text, &modules, &world.pins);
            let opened = cache.open(key, &*world.loader);
            let record = Arc::new(opened.record());
            let mut files = evaluate(&world, &modules, &specs, Some((&opened, &record)))?;
            let fates = files.iter_mut().map(|file| std::mem::take(&mut file.fate)).collect();
            opened.close(fates, &record);
            files
        }
    };
    let release = Release::clone(&release);

    let mut errors = Vec::new();
    let mut packages: BTreeMap<PackageName, Package> = BTreeMap::new();
    let mut used = std::collections::BTreeSet::new();
    let mut remotes = Vec::new();
    for File { result: file, .. } in files {
        errors.extend(file.errors);
        remotes.extend(file.remotes);
        used.extend(file.stdlib);
        for package in file.packages {
            if let Some(first) = packages.get(&package.name) {
                errors.push(twice(first, &package));
            } else {
                packages.insert(package.name.clone(), package);
            }
        }
    }
    if specs.is_empty() {
        let message = "the release has no spec: no `*.rhai` at its top or below `packages/`";
        errors.push(Diagnostic::new("no-specs", message));
    }
    if errors.is_empty() {
        let packages = packages.into_values().collect();
        let unpinned = unpinned(&remotes, &world.pins);
        return Ok(Spec { release, packages, stdlib: used, remotes, unpinned });
    }
    errors.sort_by_key(|error| error.places.first().map(|place| place.span.clone()));
    // A mistake in a module of `lib/` shows in every file that imports it.
    errors.dedup();
    Err(errors)
}

/// What the lock does not pin, each once.
fn unpinned(remotes: &[Located<Remote>], pins: &Lock) -> Vec<Located<Remote>> {
    let mut missing: Vec<Located<Remote>> = Vec::new();
    for remote in remotes.iter().filter(|remote| !remote.value.is_pinned(pins)) {
        if !missing.iter().any(|known| known.value == remote.value) {
            missing.push(remote.clone());
        }
    }
    missing
}

fn twice(first: &Package, second: &Package) -> Diagnostic {
    let at = |package: &Package| package.fields.get("name").unwrap_or(&package.span).clone();
    Diagnostic::new("duplicate-package", format!("the package `{}` is there twice", first.name))
        .at(at(second), "here")
        .at(at(first), "and here")
        .hint("a release has one package of a name")
}

/// Name, file and text of each stdlib module: the pinned copy where there is one.
fn modules(
    loader: &dyn Loader,
    lock: Option<&Lock>,
) -> Result<Vec<(String, ReleasePath, String)>, Vec<Diagnostic>> {
    let mut modules: BTreeMap<String, (String, String)> = stdlib::MODULES
        .iter()
        .map(|(name, text)| {
            ((*name).to_owned(), (format!("stdlib/{name}.rhai"), (*text).to_owned()))
        })
        .collect();
    let mut errors = Vec::new();
    for (name, expected) in lock.iter().flat_map(|lock| &lock.stdlib) {
        let file = format!("release.lock.d/stdlib/{name}.rhai");
        match pinned(loader, &file, expected) {
            Ok(text) => {
                modules.insert(name.clone(), (file, text));
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let module = |(name, (file, text)): (String, (String, String))| {
        let file = file.parse().expect("module names are plain file names");
        (name, file, text)
    };
    Ok(modules.into_iter().map(module).collect())
}

fn pinned(loader: &dyn Loader, file: &str, expected: &Sha256) -> Result<String, Diagnostic> {
    let hint = "`perestroika update stdlib` pins this program's own anew";
    let path: ReleasePath = file
        .parse()
        .map_err(|_| Diagnostic::new("stale-lock", format!("`{file}` is no path of a module")))?;
    let bytes = loader
        .read(&path, loader::MAX_TEXT)
        .map_err(|error| Diagnostic::new("stale-lock", error.to_string()).hint(hint))?;
    let found = Sha256::of(&bytes);
    if found != *expected {
        let message = format!(
            "`{file}` is not what release.lock pins\n  expected {expected}\n  found    {found}"
        );
        return Err(Diagnostic::new("stale-lock", message).hint(hint));
    }
    String::from_utf8(bytes)
        .map_err(|_| Diagnostic::new("stale-lock", format!("`{file}` is not UTF-8")).hint(hint))
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
