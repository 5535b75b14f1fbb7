//! Modules of the release: `import "lib/common" as common`.

use rhai::{
    Engine, EvalAltResult, GlobalRuntimeState, Map, Module, ModuleResolver, Position, Scope, Shared,
};

use super::{compile, mistake, read_text};
use crate::base::{Diagnostic, ReleasePath};
use crate::spec::api::{Host, noted};

/// Modules that import one another, at most.
const MAX_NESTING: usize = 16;

/// Finds modules below `lib/` of the release, and nowhere else.
pub(super) struct Imports {
    host: Host,
    release: Map,
}

impl Imports {
    /// A resolver that reads through `host`.
    pub fn new(host: Host, release: Map) -> Self {
        Self { host, release }
    }

    fn import(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        path: &str,
        source: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let span = self.host.span(source, position);
        let refuse = |error: Diagnostic| {
            self.host.note(error.at(span.clone(), ""));
            noted()
        };
        let file = module_file(path).map_err(refuse)?;
        let file = self.host.folder(source).path(&file);
        if let Some(module) = self.host.state().modules.get(file.as_str()) {
            return Ok(Shared::clone(module));
        }
        let importing = self.host.state().importing.clone();
        if importing.iter().any(|name| name == file.as_str()) || importing.len() >= MAX_NESTING {
            let chain: Vec<_> =
                importing.iter().map(String::as_str).chain([file.as_str()]).collect();
            let message = format!("modules that import one another: {}", chain.join(" -> "));
            return Err(refuse(Diagnostic::new("import", message)));
        }
        let text = read_text(&self.host, &file).map_err(|error| {
            refuse(Diagnostic::new("import", format!("cannot import `{path}`: {}", error.message)))
        })?;
        let mut scope = Scope::new();
        scope.push_constant("release", self.release.clone());
        let ast = compile(engine, &self.host, &scope, file.as_str(), text).map_err(|error| {
            self.host.note(error);
            noted()
        })?;
        self.host.state().importing.push(file.to_string());
        let module = Module::eval_ast_as_new_raw(engine, &mut scope, global, &ast);
        self.host.state().importing.pop();
        let mut module = match module {
            Ok(module) => module,
            Err(error) => {
                if let Some(error) = mistake::of_run(&self.host, file.as_str(), &error) {
                    self.host.note(error);
                }
                return Err(noted());
            }
        };
        module.set_id(file.as_str());
        let module = Shared::new(module);
        self.host.state().modules.insert(file.to_string(), Shared::clone(&module));
        Ok(module)
    }
}

fn module_file(path: &str) -> Result<ReleasePath, Diagnostic> {
    let name = path.strip_suffix(".rhai").unwrap_or(path);
    let file = format!("{name}.rhai").parse::<ReleasePath>();
    let error = match file {
        Ok(file) if name.starts_with("lib/") => return Ok(file),
        Ok(_) => Diagnostic::new("import", format!("`{path}` is no module of the release"))
            .hint(format!("modules lie below `lib/`: `import \"lib/{name}\" as …`")),
        Err(_) => {
            Diagnostic::new("bad-path", format!("`{path}` is not below `lib/` of the release"))
        }
    };
    Err(error)
}

impl ModuleResolver for Imports {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let mut global = engine_state(engine);
        self.import(engine, &mut global, path, source.unwrap_or_default(), position)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _: &mut Scope<'_>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let source = global.source().unwrap_or_default().to_owned();
        self.import(engine, global, path, &source, position)
    }
}

fn engine_state(engine: &Engine) -> GlobalRuntimeState {
    engine.new_global_runtime_state()
}
