//! What a spec says about packages of layers below it, and about single architectures.

use std::collections::BTreeMap;

use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};

use super::draft::Draft;
use super::{Host, kind_of, noted};
use crate::base::{Architecture, Diagnostic, PackageName, nearest};
use crate::spec::document::list;

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// The packages of all layers below one, as far as their specs are good.
#[derive(Debug, Clone, Default)]
pub(in crate::spec) struct Below {
    /// The packages.
    pub packages: BTreeMap<PackageName, Draft>,
    /// Whether specs of these layers have mistakes, so that packages may be missing.
    pub broken: bool,
}

/// The fields that may be different on one architecture. All others are those of the source
/// package, of which there is one.
const ON: [&str; 6] = ["build", "build_depends", "env", "from_seed", "resources", "without_tests"];

/// Teaches `engine` these functions.
pub(super) fn register(engine: &mut Engine, host: &Host) {
    let this = host.clone();
    engine.register_fn("prev", move |context: NativeCallContext, name: Dynamic| {
        this.prev(&context, &name)
    });
    let this = host.clone();
    engine.register_fn(
        "on",
        move |context: NativeCallContext, package: Draft, name: Dynamic, fields: Dynamic| {
            this.on(&context, package, &name, fields)
        },
    );
}

impl Host {
    fn prev(&self, context: &NativeCallContext<'_>, name: &Dynamic) -> Answer<Draft> {
        let site = self.site(context);
        let span = site.first();
        let refuse = |error: Diagnostic| {
            self.note(error.at(span.clone(), ""));
            noted()
        };
        let Some(below) = &self.world.below else {
            let message = "there is no layer below this file: `prev` has nothing to give";
            let hint = "overlays have one, and the specs of a release that `extends` another";
            return Err(refuse(Diagnostic::new("no-layer", message).hint(hint)));
        };
        let name = match name.read_lock::<ImmutableString>().map(|text| text.parse()) {
            Some(Ok(name)) => name,
            Some(Err(error)) => {
                return Err(refuse(Diagnostic::new("bad-value", format!("{error}"))));
            }
            None => {
                let message = format!("`prev` takes a name, not {}", kind_of(name));
                return Err(refuse(Diagnostic::new("wrong-type", message)));
            }
        };
        let Some(package) = below.packages.get(&name) else {
            if below.broken {
                // Perhaps one of its mistakes is why: they are told already.
                let mut package = Draft::new(site.span);
                package.broken = true;
                return Ok(package);
            }
            return Err(refuse(unknown(&name, below)));
        };
        self.weigh(package.weight(), &site.span)?;
        let mut package = package.clone();
        package.below.insert(0, std::mem::replace(&mut package.span, site.span));
        Ok(package)
    }

    fn on(
        &self,
        context: &NativeCallContext<'_>,
        mut package: Draft,
        name: &Dynamic,
        fields: Dynamic,
    ) -> Answer<Draft> {
        let site = self.site(context);
        let place = site.args.len().checked_sub(2).and_then(|index| site.args.get(index));
        let span = place.map_or_else(|| site.span.clone(), |shape| shape.span.clone());
        let architecture = match self.architecture(name) {
            Ok(architecture) => architecture,
            Err(error) => {
                self.note(package.told(error.at(span, "")));
                return Err(noted());
            }
        };
        let mut other = Draft::new(package.span.clone());
        other.below.clone_from(&package.below);
        let other = self.apply(site, "on", other, fields, |draft, name, field, errors| {
            if ON.contains(&name) {
                draft.replace(name, field, errors);
                return;
            }
            let message = format!("`{name}` is the same on all architectures");
            let hint = format!("{} may be different", list(&ON));
            errors.push(Diagnostic::new("bad-value", message).at(field.span, "").hint(hint));
            draft.broken = true;
        })?;
        package.broken |= other.broken;
        package.set_on(architecture, other);
        Ok(package)
    }

    fn architecture(&self, name: &Dynamic) -> Result<Architecture, Diagnostic> {
        let Some(text) = name.read_lock::<ImmutableString>() else {
            let message = format!("`on` takes an architecture and a map, not {}", kind_of(name));
            return Err(Diagnostic::new("wrong-type", message));
        };
        let architecture: Architecture =
            text.parse().map_err(|error| Diagnostic::new("bad-value", format!("{error}")))?;
        self.world.check_architecture(&architecture)?;
        Ok(architecture)
    }
}

fn unknown(name: &PackageName, below: &Below) -> Diagnostic {
    let known = below.packages.keys().map(PackageName::as_str);
    let message = format!("no layer below has a package `{name}`");
    let error = Diagnostic::new("unknown-package", message);
    match nearest(name.as_str(), known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`package(#{ … })` and `rebuild(\"…\")` describe a new one"),
    }
}
