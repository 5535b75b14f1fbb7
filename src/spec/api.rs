//! What a spec can call: the functions of the language, and the values they pass around.

pub(super) mod draft;
pub(super) mod field;
mod functions;
pub(super) mod layer;
mod patches;
pub(super) mod shape;
mod show;
mod source;
pub(super) mod text;
pub(super) mod used;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rhai::{
    Dynamic, EvalAltResult, ImmutableString, Map, NativeCallContext, Position, Shared as Rc,
};

pub(super) use functions::register;
pub(super) use shape::Shape;
pub(super) use show::shown;

use super::loader::{Dir, Loader};
use super::lock::Lock;
use super::model::{self, Located, Remote};
use super::release::Release;
use super::text::Text;
use crate::base::{Architecture, Diagnostic, ReleaseFolder, ReleasePath, Span};

/// The names that the language itself defines: no spec may define them otherwise.
pub(super) const NAMES: [&str; 29] = [
    "package",
    "rebuild",
    "prev",
    "dir",
    "archive",
    "git",
    "tarball",
    "file",
    "recipe",
    "dedent",
    "kind_of",
    "debian",
    "script",
    "release",
    "autotools",
    "cmake",
    "meson",
    "make",
    "python",
    "library",
    "documentation",
    "openstack",
    "debhelper",
    "options",
    "captures",
    "parse_int",
    "join",
    "trim",
    "sort",
];

/// What one file may say at most, in fields, list items and kilobytes of text together.
const MAX_WEIGHT: usize = 200_000;

/// What all evaluating threads share.
#[derive(Clone)]
pub(super) struct World {
    /// How files are read.
    pub loader: Arc<dyn Loader>,
    /// release.toml.
    pub release: Arc<Release>,
    /// The architectures of the release and of those that it extends.
    pub architectures: Arc<BTreeSet<Architecture>>,
    /// What the lock says of git repositories and of files from elsewhere.
    pub pins: Arc<Lock>,
    /// Folders that were hashed already.
    pub dirs: Arc<Dirs>,
    /// The layers below the one that is evaluated; nothing below the lowest.
    pub below: Option<Arc<layer::Below>>,
    /// Whether there is a layer above, which may ask for packages of this one.
    pub above: bool,
}

/// Folders of releases, once they were hashed.
pub(super) type Dirs = Mutex<BTreeMap<ReleasePath, Arc<Result<Dir, Diagnostic>>>>;

impl World {
    /// Refuses an architecture that the release is not built for.
    pub fn check_architecture(&self, architecture: &Architecture) -> Result<(), Diagnostic> {
        if self.architectures.contains(architecture) {
            return Ok(());
        }
        let known: Vec<_> = self.release.architectures.iter().map(|a| a.as_str()).collect();
        let message = format!("this release is not built for `{architecture}`");
        let hint = format!("release.toml has {}", super::document::list(&known));
        Err(Diagnostic::new("unknown-name", message).hint(hint))
    }
}

/// How many items of captured variables may be copied.
const MAX_COPIED: usize = 1_000_000;

/// A text under evaluation.
pub(super) struct Source {
    /// The text.
    pub text: Text,
    /// Where the arguments of calls were written, by line and column of the call.
    pub calls: HashMap<(usize, usize), Vec<Shape>>,
}

/// What happened while a file was evaluated.
pub(super) struct State {
    /// Everything wrong so far.
    pub errors: Vec<Diagnostic>,
    /// Texts by the name that the engine knows them under.
    pub sources: BTreeMap<String, Arc<Source>>,
    /// Modules that are being imported, outermost first.
    pub importing: Vec<String>,
    /// Modules that were imported.
    pub modules: BTreeMap<String, Rc<rhai::Module>>,
    /// What the lock has to pin.
    pub remotes: Vec<Located<Remote>>,
    /// Stdlib modules that made a builder.
    pub used: BTreeSet<String>,
    /// Folders that are sources.
    pub folders: Vec<ReleasePath>,
    /// Who defines which function of the stdlib.
    pub stdlib: used::Stdlib,
    /// When evaluation began.
    pub started: Instant,
    builder: Option<model::Builder>,
    weight: usize,
    copied: usize,
}

/// The hand that functions of the language reach the rest with.
#[derive(Clone)]
pub(super) struct Host {
    /// Of all threads.
    pub world: Arc<World>,
    state: Arc<Mutex<State>>,
}

/// An error that has been noted already: it only ends the evaluation.
#[derive(Clone)]
pub(super) struct Noted;

/// Where a function was called.
pub(super) struct Site {
    /// The call.
    pub span: Span,
    /// Its arguments, as far as they are written at the call.
    pub args: Vec<Shape>,
}

impl Host {
    /// A hand on `world` with an empty state.
    pub fn new(world: Arc<World>) -> Self {
        let state = State {
            errors: Vec::new(),
            sources: BTreeMap::new(),
            importing: Vec::new(),
            modules: BTreeMap::new(),
            remotes: Vec::new(),
            used: BTreeSet::new(),
            folders: Vec::new(),
            stdlib: used::Stdlib::default(),
            started: Instant::now(),
            builder: None,
            weight: 0,
            copied: 0,
        };
        Self { world, state: Arc::new(Mutex::new(state)) }
    }

    /// The state. Only the thread that evaluates ever locks it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what belongs to one file.
    pub fn begin(&self) {
        let mut state = self.state();
        state.errors.clear();
        state.sources.retain(|_, source| is_stdlib(source.text.file()));
        state.importing.clear();
        state.modules.clear();
        state.remotes.clear();
        state.used.clear();
        state.folders.clear();
        state.builder = None;
        state.weight = 0;
        state.copied = 0;
        state.started = Instant::now();
    }

    /// Notes an error.
    pub fn note(&self, error: Diagnostic) {
        self.state().errors.push(error);
    }

    /// Says of the error that was noted last where what it is in was called from, the innermost
    /// call first.
    pub fn called_from(&self, calls: impl Iterator<Item = Span>) {
        let last = self.state().errors.pop();
        if let Some(mut error) = last {
            for span in calls {
                let known = error.places.iter().any(|place| place.span == span);
                error = if known { error } else { error.at(span, "called here") };
            }
            self.note(error);
        }
    }

    /// The place of a position in a text.
    pub fn span(&self, source: &str, position: Position) -> Option<Span> {
        let state = self.state();
        let text = &state.sources.get(source)?.text;
        let (line, column) = (position.line()?, position.position().unwrap_or(1));
        Some(text.token(line as u32, column as u32))
    }

    /// The place of a key in a map that was given to the call at `position`.
    pub fn key(&self, source: &str, position: Position, key: &str) -> Option<Span> {
        let state = self.state();
        let calls = &state.sources.get(source)?.calls;
        let shapes = calls.get(&(position.line()?, position.position()?))?;
        shapes.iter().find_map(|shape| shape.written(key)).cloned()
    }

    /// The release folder that a text belongs to.
    pub fn folder(&self, source: &str) -> ReleaseFolder {
        let state = self.state();
        state.sources.get(source).map(|source| source.text.file().folder()).unwrap_or_default()
    }

    /// Where the running function was called.
    fn site(&self, context: &NativeCallContext<'_>) -> Site {
        let name = context.call_source().unwrap_or_default();
        let position = context.call_position();
        let key = (position.line().unwrap_or(0), position.position().unwrap_or(0));
        let source = self.state().sources.get(name).cloned();
        match source {
            Some(source) => Site {
                span: source.text.token(key.0.max(1) as u32, key.1 as u32),
                args: source.calls.get(&key).cloned().unwrap_or_default(),
            },
            None => Site {
                span: Span {
                    file: super::document::top_file("release.toml"),
                    line: 1,
                    column: 1,
                    length: 0,
                },
                args: Vec::new(),
            },
        }
    }

    /// Counts items that were copied out of captured variables.
    pub fn copied(&self, items: usize) -> Result<(), Box<EvalAltResult>> {
        let mut state = self.state();
        state.copied = state.copied.saturating_add(items);
        if state.copied <= MAX_COPIED {
            return Ok(());
        }
        Err("what closures captured here is too large for how often it is used".into())
    }

    /// Counts `weight` against what a file may say.
    fn weigh(&self, weight: usize, span: &Span) -> Result<(), Box<EvalAltResult>> {
        let mut state = self.state();
        state.weight = state.weight.saturating_add(weight);
        if state.weight <= MAX_WEIGHT {
            return Ok(());
        }
        let message = "this file describes more than one file may";
        let hint = "split it into several files, or keep large lists out of specs";
        state.errors.push(Diagnostic::new("limit", message).at(span.clone(), "").hint(hint));
        Err(noted())
    }
}

impl Site {
    /// The place of the first argument; the call's where it was computed.
    pub fn first(&self) -> Span {
        self.args.first().map_or_else(|| self.span.clone(), |shape| shape.span.clone())
    }
}

/// Whether a text is one of the stdlib's.
pub(super) fn is_stdlib(file: &ReleasePath) -> bool {
    let file = file.inside();
    file.starts_with("stdlib/") || file.starts_with("release.lock.d/stdlib/")
}

/// The error that stands for errors that have been noted.
pub(super) fn noted() -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(Noted), Position::NONE))
}

/// `release` as specs see it.
pub(super) fn release_map(release: &Release) -> Map {
    let mut map: Map = release
        .parameters
        .iter()
        .map(|(key, value)| {
            let value = match value {
                toml::Value::String(text) => Dynamic::from(ImmutableString::from(text.as_str())),
                toml::Value::Integer(number) => Dynamic::from(*number),
                toml::Value::Boolean(flag) => Dynamic::from(*flag),
                other => Dynamic::from(ImmutableString::from(other.to_string())),
            };
            (key.as_str().into(), value)
        })
        .collect();
    for (key, value) in
        [("name", &release.name), ("version", &release.version), ("customer", &release.customer)]
    {
        map.insert(key.into(), ImmutableString::from(value.as_str()).into());
    }
    map
}

/// What a value is, as messages call it.
pub(super) fn kind_of(value: &Dynamic) -> &'static str {
    match value.type_name() {
        "()" => "nothing",
        "bool" => "a boolean",
        "char" => "a character",
        "array" => "a list",
        "map" => "a map",
        "Fn" => "a function",
        "string" => "a string",
        _ if value.is_int() => "an integer",
        _ if value.is_float() => "a number with a fraction",
        _ if value.is_string() => "a string",
        _ if value.is_array() => "a list",
        _ if value.is_map() => "a map",
        _ if value.is_fnptr() => "a function",
        _ if value.is::<draft::Draft>() => "a package",
        _ if value.is::<model::Source>() => "a source",
        _ if value.is::<model::Builder>() => "a way of building",
        _ => "a value of another kind",
    }
}
