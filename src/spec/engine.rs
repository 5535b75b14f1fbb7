//! Evaluation of one spec file after another, by one engine that belongs to one thread: a shared
//! engine would share its string interner and the lock of it.
//!
//! A spec is hostile until proven otherwise. Everything it may use has a limit, and whatever it
//! does ends in packages or in errors with a place.

mod guard;
mod import;
mod mistake;
mod outline;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::packages::{
    BasicArrayPackage, BasicMapPackage, CorePackage, LogicPackage, MoreStringPackage, Package as _,
};
use rhai::{Array, Dynamic, Engine, ImmutableString, Map, OptimizationLevel, Scope, Stmt, Token};

pub(super) use outline::outline;
use serde::{Deserialize, Serialize};

use super::api::draft::Draft;
use super::api::{self, Host, Source, World};
use super::expression::{self, Value};
use super::loader;
use super::model::{Located, Package, Remote};
use super::text::Text;
use crate::base::{Diagnostic, ReleasePath, Span};

/// Stack of a thread that evaluates. Rhai recurses with the nesting of its input.
pub(super) const STACK: usize = 64 << 20;

/// How long one file may take: only a net below the other limits, for operations that are slow
/// because what they work on is large.
const DEADLINE: Duration = Duration::from_secs(10);

const MAX_OPERATIONS: u64 = 500_000;
const MAX_CALLS: usize = 64;
const MAX_DEPTH: usize = 256;
const MAX_FUNCTION_DEPTH: usize = 128;
const MAX_STRING: usize = 256 * 1024;
const MAX_ITEMS: usize = 5_000;
const MAX_VARIABLES: usize = 250;
const MAX_FUNCTIONS: usize = 500;
const MAX_MODULES: usize = 100;

/// What a file came to.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Evaluated {
    /// Its packages.
    pub packages: Vec<Package>,
    /// The same for a layer above, with those that have mistakes; none if there is no such layer.
    #[serde(skip)]
    pub drafts: Vec<Draft>,
    /// What is wrong with it.
    #[serde(skip)]
    pub errors: Vec<Diagnostic>,
    /// The folders that it takes as sources, and may share with other files.
    #[serde(skip)]
    pub folders: Vec<ReleasePath>,
    /// The stdlib modules it used.
    pub stdlib: BTreeSet<String>,
    /// What the lock has to pin for it.
    pub remotes: Vec<Located<Remote>>,
}

/// An engine and its host.
pub(super) struct Session {
    engine: Engine,
    host: Host,
    scope: Scope<'static>,
}

impl Session {
    /// A session with these stdlib modules: name, file and text.
    ///
    /// # Errors
    /// A stdlib module that does not compile, which happens to changed copies only.
    pub fn new(
        world: Arc<World>,
        stdlib: &[(String, ReleasePath, String)],
    ) -> Result<Self, Diagnostic> {
        let host = Host::new(world);
        let release = api::release_map(&host.world.release);
        let mut engine = Engine::new_raw();
        restrict(&mut engine);
        install(&mut engine, &host);
        api::register(&mut engine, &host);
        engine.set_module_resolver(import::Imports::new(host.clone(), release.clone()));

        let mut globals = rhai::Module::new();
        globals.set_var("release", release.clone());
        engine.register_global_module(globals.into());
        let mut scope = Scope::new();
        scope.push_constant("release", release);
        for (name, file, text) in stdlib {
            let text = Text::new(file.clone(), text.clone());
            let module = compile(&engine, &host, &scope, &format!("stdlib/{name}"), text)
                .and_then(|ast| {
                    host.state().stdlib.add(name, &ast);
                    let inner = scope.clone();
                    rhai::Module::eval_ast_as_new(inner, &ast, &engine)
                        .map_err(|error| Diagnostic::new("stdlib", error.to_string()))
                })
                .map_err(|mut error| {
                    error.message = format!("stdlib module `{name}`: {}", error.message);
                    error
                })?;
            match api::used::is_namespace(name) {
                true => engine.register_static_module(name, module.into()),
                false => engine.register_global_module(module.into()),
            };
        }
        Ok(Self { engine, host, scope })
    }

    /// Evaluates a spec file.
    pub fn run(&self, path: &ReleasePath) -> Evaluated {
        self.host.begin();
        let (mut packages, mut drafts) = (Vec::new(), Vec::new());
        match read_text(&self.host, path) {
            Ok(text) => {
                // Rhai has panics left for values it thinks impossible.
                let outcome = catch_unwind(AssertUnwindSafe(|| self.evaluate(text)));
                match outcome {
                    Ok(found) => (packages, drafts) = found,
                    Err(_) => {
                        let message = format!("the evaluation of `{path}` broke off");
                        self.host.note(Diagnostic::new("internal", message).at(whole(path), ""));
                    }
                }
            }
            Err(error) => self.host.note(error),
        }
        let mut state = self.host.state();
        Evaluated {
            packages,
            drafts,
            errors: std::mem::take(&mut state.errors),
            folders: std::mem::take(&mut state.folders),
            stdlib: std::mem::take(&mut state.used),
            remotes: std::mem::take(&mut state.remotes),
        }
    }

    /// Evaluates a lone expression.
    pub fn express(&self, text: &str) -> Result<Value, Vec<Diagnostic>> {
        self.host.begin();
        let file: ReleasePath = expression::PLACE.parse().expect("it is a plain name");
        let text = Text::new(file, text.to_owned());
        let value = compile(&self.engine, &self.host, &self.scope, expression::PLACE, text)
            .map_err(|error| self.host.note(error))
            .and_then(|ast| {
                let mut scope = self.scope.clone();
                self.engine.eval_ast_with_scope::<Dynamic>(&mut scope, &ast).map_err(|error| {
                    if let Some(error) = mistake::of_run(&self.host, expression::PLACE, &error) {
                        self.host.note(error);
                    }
                })
            });
        let mut state = self.host.state();
        let mut errors = std::mem::take(&mut state.errors);
        match value {
            Ok(value) if errors.is_empty() => return Ok(api::shown(&value)),
            Ok(_) => {}
            // An evaluation that met what is not pinned ends without a word.
            Err(()) if errors.is_empty() => errors.extend(state.remotes.iter().map(|remote| {
                Diagnostic::new("unpinned", format!("{} is not pinned", remote.value))
                    .at(remote.span.clone(), "")
                    .hint("`perestroika lock` pins what the specs of a release ask for")
            })),
            Err(()) => {}
        }
        Err(errors)
    }

    fn evaluate(&self, text: Text) -> (Vec<Package>, Vec<Draft>) {
        let nothing = (Vec::new(), Vec::new());
        let path = text.file().clone();
        let ast = match compile(&self.engine, &self.host, &self.scope, path.as_str(), text) {
            Ok(ast) => ast,
            Err(error) => {
                self.host.note(error);
                return nothing;
            }
        };
        let mut scope = self.scope.clone();
        let value = match self.engine.eval_ast_with_scope::<Dynamic>(&mut scope, &ast) {
            Ok(value) => value,
            Err(error) => {
                if let Some(error) = mistake::of_run(&self.host, path.as_str(), &error) {
                    self.host.note(error);
                }
                return nothing;
            }
        };
        if value.is_unit()
            && let Some(Stmt::For(_, position)) = ast.statements().last()
        {
            let hint = "`names.map(|name| rebuild(name))` makes a list of packages";
            let error =
                Diagnostic::new("wrong-type", "a loop has no value: this spec says nothing")
                    .at(self.host.span(path.as_str(), *position), "")
                    .hint(hint);
            self.host.note(error);
        }
        let mut drafts = Vec::new();
        if let Err(kind) = flatten(value, &mut drafts) {
            let message = format!("`{path}` comes to {kind}, not to packages");
            let hint = "the last expression of a spec is a package or a list of packages";
            let error = Diagnostic::new("wrong-type", message).at(whole(&path), "").hint(hint);
            self.host.note(match kind {
                "nothing" => error.hint("a `;` at its end throws its value away"),
                _ => error,
            });
        }
        // With room for what there is: packages are large.
        let mut packages = Vec::with_capacity(drafts.len());
        let (mut kept, mut errors) = (Vec::new(), Vec::new());
        for draft in drafts {
            let mut for_above = self.host.world.above.then(|| draft.clone());
            let package = draft.finish(&self.host, &mut errors);
            if let Some(draft) = &mut for_above {
                draft.broken |= package.is_none();
            }
            packages.extend(package);
            kept.extend(for_above);
        }
        self.host.state().errors.append(&mut errors);
        (packages, kept)
    }
}

/// The packages of a value: one, or lists of them, and nothing where there is `()`.
fn flatten(value: Dynamic, found: &mut Vec<Draft>) -> Result<(), &'static str> {
    let kind = api::kind_of(&value);
    if value.is_unit() {
        return Ok(());
    }
    if value.is::<Draft>() {
        // Most files have one, and it is large.
        if found.is_empty() {
            found.reserve_exact(1);
        }
        found.extend(value.try_cast::<Draft>());
        return Ok(());
    }
    match value.try_cast::<Array>() {
        Some(items) => items.into_iter().try_for_each(|item| flatten(item, found)),
        None => Err(kind),
    }
}

/// A place that stands for a whole file.
fn whole(path: &ReleasePath) -> Span {
    Span { file: path.clone(), line: 1, column: 1, length: 0 }
}

/// The text of a file of the release.
fn read_text(host: &Host, path: &ReleasePath) -> Result<Text, Diagnostic> {
    let error = |message: String| Diagnostic::new("unreadable", message).at(whole(path), "");
    let loader = &host.world.loader;
    let bytes =
        loader.read(path, loader::MAX_TEXT).map_err(|problem| error(problem.to_string()))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(problem) => {
            let good = problem.utf8_error().valid_up_to();
            let bytes = problem.into_bytes();
            let line = bytes[..good].iter().filter(|byte| **byte == b'\n').count() as u32 + 1;
            let span = Span { line, ..whole(path) };
            let message = format!("`{path}` is not UTF-8: see line {line}");
            return Err(Diagnostic::new("unreadable", message).at(span, ""));
        }
    };
    // Beyond these, Rhai's positions stand still.
    if text.lines().count() > 60_000 {
        return Err(error(format!("`{path}` has more than 60000 lines")));
    }
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Text::new(path.clone(), text))
}

/// Parses a text, refuses what would silently mean something else, and remembers where the
/// arguments of its calls are.
fn compile(
    engine: &Engine,
    host: &Host,
    scope: &Scope<'_>,
    name: &str,
    text: Text,
) -> Result<rhai::AST, Diagnostic> {
    let mut ast = match engine.compile_with_scope(scope, text.content()) {
        Ok(ast) => ast,
        Err(error) => return Err(mistake::of_parse(&text, &error)),
    };
    // Rhai takes a comment that does not end for one that ends with the file.
    if text.content().contains("/*")
        && engine.compile_with_scope(scope, format!("{}\n}}", text.content())).is_ok()
    {
        return Err(mistake::endless_comment(&text));
    }
    ast.set_source(name);
    if !api::is_stdlib(text.file()) {
        guard::check(&ast, &text)?;
        host.uses(&ast);
    }
    let calls = api::shape::calls(&ast, &text);
    host.state().sources.insert(name.to_owned(), Arc::new(Source { text, calls }));
    Ok(ast)
}

/// Sets every limit, whatever the defaults are, and takes the rest of a script language away.
fn restrict(engine: &mut Engine) {
    engine.set_max_operations(MAX_OPERATIONS);
    engine.set_max_call_levels(MAX_CALLS);
    engine.set_max_expr_depths(MAX_DEPTH, MAX_FUNCTION_DEPTH);
    engine.set_max_string_size(MAX_STRING);
    engine.set_max_array_size(MAX_ITEMS);
    engine.set_max_map_size(MAX_ITEMS);
    engine.set_max_variables(MAX_VARIABLES);
    engine.set_max_functions(MAX_FUNCTIONS);
    engine.set_max_modules(MAX_MODULES);
    engine.set_max_strings_interned(0);
    engine.set_optimization_level(OptimizationLevel::None);
    engine.set_strict_variables(true);
    engine.set_fail_on_invalid_map_property(true);
    for symbol in mistake::DISABLED {
        engine.disable_symbol(symbol);
    }
}

/// Gives back the two words that Rhai keeps for itself, without a use for them.
#[expect(deprecated, reason = "rhai marks what may still change, not what goes away")]
fn reserved_words(engine: &mut Engine) {
    engine.on_parse_token(|token, _, _| match token {
        Token::Reserved(word) if matches!(word.as_str(), "package" | "with") => {
            Token::Identifier(word)
        }
        other => other,
    });
}

/// Loads the parts of Rhai that a spec needs, cured where they are not pure or not bounded.
#[expect(deprecated, reason = "rhai marks what may still change, not what goes away")]
fn install(engine: &mut Engine, host: &Host) {
    CorePackage::new().register_into_engine(engine);
    LogicPackage::new().register_into_engine(engine);
    BasicArrayPackage::new().register_into_engine(engine);
    BasicMapPackage::new().register_into_engine(engine);
    MoreStringPackage::new().register_into_engine(engine);

    reserved_words(engine);
    // A variable that a closure captured is shared, and using it in its own method call finds
    // it locked: hand out a copy instead. The copy is shared too, or else closures that hold
    // closures would double with each copy; what is copied counts.
    let state = host.clone();
    engine.on_var(move |name, index, context| {
        let scope = context.scope();
        let variable = match index {
            0 => scope.iter_raw().find(|(known, ..)| *known == name),
            index => scope.iter_raw().nth(index - 1),
        };
        let Some((.., value)) = variable.filter(|(.., value)| value.is_shared()) else {
            return Ok(None);
        };
        let copy = value.flatten_clone();
        state.copied(1 + items_of(&copy))?;
        Ok(Some(copy.into_shared()))
    });
    let state = host.clone();
    engine.on_progress(move |operations| {
        let late = operations % 256 == 0 && late(state.state().started);
        late.then(|| Dynamic::from("time"))
    });
    for (name, values) in mistake::REFUSED {
        let refuse = move || -> Answer<Dynamic> { Err(mistake::refusal(name).into()) };
        match values {
            0 => engine.register_fn(name, refuse),
            1 => engine.register_fn(name, move |_: Dynamic| refuse()),
            _ => engine.register_fn(name, move |_: Dynamic, _: Dynamic| refuse()),
        };
    }
    // A function of exactly these types would be found before the one that takes anything.
    engine.register_fn("sleep", |_: i64| -> Answer<()> { Err(mistake::refusal("sleep").into()) });
    engine.register_fn("sleep", |_: f64| -> Answer<()> { Err(mistake::refusal("sleep").into()) });
    engine.register_fn("parse_json", |_: ImmutableString| -> Answer<()> {
        Err(mistake::refusal("parse_json").into())
    });
    engine.register_fn("to_blob", |_: ImmutableString| -> Answer<()> {
        Err(mistake::refusal("to_blob").into())
    });
    // Text takes anything by `+`, and lists that became text are not what was meant.
    engine.register_fn("+", |_: Array, text: ImmutableString| joined("a list", &text));
    engine.register_fn("+", |_: Map, text: ImmutableString| joined("a map", &text));
    engine.register_fn("+", |_: Draft, text: ImmutableString| joined("a package", &text));
    engine.register_fn("+", |text: ImmutableString, _: Array| joined("a list", &text));
    engine.register_fn("+", |text: ImmutableString, _: Map| joined("a map", &text));
    // The package's own `replace` changes its string, and makes it as long as it likes.
    engine.register_fn("replace", replace);
    engine.register_fn("replace", |text: ImmutableString, from: char, to: ImmutableString| {
        replace(text, from.to_string().into(), to)
    });
    engine.register_fn("replace", |text: ImmutableString, from: ImmutableString, to: char| {
        replace(text, from, to.to_string().into())
    });
    engine.register_fn("replace", |text: ImmutableString, from: char, to: char| {
        replace(text, from.to_string().into(), to.to_string().into())
    });
}

/// What is said about a text and something that is no text with a `+` between them.
fn joined(what: &str, text: &str) -> Answer<Dynamic> {
    let text: String = text.chars().take(60).collect();
    let hint = match what {
        "a list" => format!(": a list is joined with a list, `[\"{text}\"]`"),
        _ => String::new(),
    };
    Err(format!("`+` cannot join {what} and a string{hint}").into())
}

/// How many items the lists and maps of a value have, at all depths.
fn items_of(value: &Dynamic) -> usize {
    match (value.as_array_ref(), value.as_map_ref()) {
        (Ok(items), _) => items.iter().map(|item| 1 + items_of(item)).sum(),
        (_, Ok(map)) => map.values().map(|item| 1 + items_of(item)).sum(),
        _ => 0,
    }
}

fn late(started: Instant) -> bool {
    started.elapsed() > DEADLINE
}

type Answer<T> = Result<T, Box<rhai::EvalAltResult>>;

fn replace(
    text: ImmutableString,
    from: ImmutableString,
    to: ImmutableString,
) -> Answer<ImmutableString> {
    let count = text.matches(from.as_str()).count();
    if text.len().saturating_add(count.saturating_mul(to.len())) > MAX_STRING {
        let position = rhai::Position::NONE;
        let what = "Length of string".to_owned();
        return Err(Box::new(rhai::EvalAltResult::ErrorDataTooLarge(what, position)));
    }
    Ok(text.replace(from.as_str(), &to).into())
}
