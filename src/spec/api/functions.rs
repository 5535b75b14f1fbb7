use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};

use super::draft::Draft;
use super::field::{self, Value};
use super::{Host, Site, kind_of, noted};
use crate::base::{Diagnostic, ReleasePath, Span};
use crate::spec::model::{Builder, Source};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Teaches `engine` the functions of the language.
pub(in crate::spec) fn register(engine: &mut Engine, host: &Host) {
    engine.register_type_with_name::<Draft>("package");
    engine.register_type_with_name::<Builder>("builder");

    let this = host.clone();
    engine.register_fn("package", move |context: NativeCallContext, fields: Dynamic| {
        this.package(&context, fields)
    });
    let this = host.clone();
    engine.register_fn("rebuild", move |context: NativeCallContext, names: Dynamic| {
        this.rebuild(&context, names)
    });
    let this = host.clone();
    engine.register_fn(
        "with",
        move |context: NativeCallContext, package: Draft, fields: Dynamic| {
            this.change(&context, package, fields, Draft::replace)
        },
    );
    let this = host.clone();
    engine.register_fn(
        "add",
        move |context: NativeCallContext, package: Draft, fields: Dynamic| {
            this.change(&context, package, fields, Draft::append)
        },
    );
    let this = host.clone();
    engine.register_fn("recipe", move |context: NativeCallContext, fields: Dynamic| {
        this.recipe(&context, fields)
    });
    super::layer::register(engine, host);
    super::text::register(engine);
    super::source::register(engine, host);
    engine.register_fn("dedent", dedent);
    engine.register_fn("kind_of", |value: Dynamic| ImmutableString::from(kind_of(&value)));
}

impl Host {
    fn package(&self, context: &NativeCallContext<'_>, fields: Dynamic) -> Answer<Draft> {
        let site = self.site(context);
        let draft = Draft::new(site.span.clone());
        self.apply(site, "package", draft, fields, Draft::replace)
    }

    fn change(
        &self,
        context: &NativeCallContext<'_>,
        package: Draft,
        fields: Dynamic,
        how: Apply,
    ) -> Answer<Draft> {
        let site = self.site(context);
        self.apply(site, context.fn_name(), package, fields, how)
    }

    /// Checks the fields of a map and puts them into `draft`.
    pub(super) fn apply(
        &self,
        site: Site,
        name: &str,
        mut draft: Draft,
        fields: Dynamic,
        how: Apply,
    ) -> Answer<Draft> {
        let found = kind_of(&fields);
        let Some(map) = fields.try_cast::<rhai::Map>() else {
            let message = format!("`{name}` takes a map `#{{ … }}`, not {found}");
            self.note(Diagnostic::new("wrong-type", message).at(site.first(), ""));
            return Err(noted());
        };
        let shape = site.args.into_iter().last();
        let shape = shape.unwrap_or_else(|| super::Shape::plain(site.span.clone()));
        let mut errors = Vec::new();
        let fields = field::read_all(map, &shape, &mut errors);
        draft.broken |= !errors.is_empty();
        for (name, mut field) in fields {
            if name == "patches"
                && let Value::Texts(paths) = field.value
            {
                let patches = self.patches(paths, &field.span)?;
                draft.broken |= patches.is_none();
                field.value = Value::Patches(patches.unwrap_or_default());
            }
            how(&mut draft, name, field, &mut errors);
        }
        self.state().errors.extend(errors.into_iter().map(|error| draft.told(error)));
        self.weigh(draft.weight(), &site.span)?;
        Ok(draft)
    }

    fn rebuild(&self, context: &NativeCallContext<'_>, names: Dynamic) -> Answer<Dynamic> {
        let site = self.site(context);
        let builder = self.own_packaging(context)?;
        if names.is_string() {
            let span = site.first();
            return Ok(Dynamic::from(self.rebuilt(&names, &site.span, span, &builder)?));
        }
        let found = kind_of(&names);
        let Some(names) = names.try_cast::<Array>() else {
            let message = format!("`rebuild` takes a name or a list of names, not {found}");
            self.note(Diagnostic::new("wrong-type", message).at(site.first(), ""));
            return Err(noted());
        };
        let mut packages = Array::new();
        for (index, name) in names.iter().enumerate() {
            let span = match site.args.first() {
                Some(shape) => shape.item(index).span,
                None => site.span.clone(),
            };
            let package = self.rebuilt(name, &span, span.clone(), &builder)?;
            packages.push(Dynamic::from(package));
        }
        Ok(packages.into())
    }

    fn rebuilt(&self, name: &Dynamic, call: &Span, span: Span, builder: &Builder) -> Answer<Draft> {
        let mut draft = Draft::new(call.clone());
        self.weigh(4, &span)?;
        match self.source_name(name, "rebuild", &span) {
            Some(name) => {
                draft.set("name", Value::Text(name.to_string()), span.clone());
                draft.set("source", Value::Source(Source::Archive { name }), span.clone());
                draft.set("build", Value::Builder(builder.clone()), span);
            }
            None => draft.broken = true,
        }
        Ok(draft)
    }

    /// What the stdlib's `debian()` gives.
    fn own_packaging(&self, context: &NativeCallContext<'_>) -> Answer<Builder> {
        let known = self.state().builder.clone();
        let builder = match known {
            Some(builder) => builder,
            None => context.call_fn::<Builder>("debian", ())?,
        };
        let mut state = self.state();
        state.used.insert(builder.name.clone());
        state.builder = Some(builder.clone());
        Ok(builder)
    }

    fn recipe(&self, context: &NativeCallContext<'_>, fields: Dynamic) -> Answer<Builder> {
        let site = self.site(context);
        let module = module_name(&site.span.file);
        let shape = site.args.into_iter().next();
        let shape = shape.unwrap_or_else(|| super::Shape::plain(site.span.clone()));
        let mut errors = Vec::new();
        let builder = field::builder(&module, fields, &shape, &mut errors);
        self.weigh(1 + builder.script.len() / 1024, &site.span)?;
        if !errors.is_empty() {
            self.state().errors.append(&mut errors);
            return Err(noted());
        }
        if super::is_stdlib(&site.span.file) {
            self.state().used.insert(module);
        }
        Ok(builder)
    }
}

pub(super) type Apply = fn(&mut Draft, &'static str, field::Field, &mut Vec<Diagnostic>);

/// `debian` for `stdlib/debian.rhai`.
fn module_name(file: &ReleasePath) -> String {
    let name = file.as_str().rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".rhai").unwrap_or(name).to_owned()
}

/// The text without the white space that all its lines begin with, the empty first line of a raw
/// string and trailing white space; it ends in a line end if it is not empty.
fn dedent(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| !line.trim().is_empty()).unwrap_or(lines.len());
    let end = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(start, |at| at + 1);
    let lines = &lines[start..end];
    let indent = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let common = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| &line[..indent(line)])
        .reduce(|a, b| {
            let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            &a[..same]
        })
        .unwrap_or_default();
    let mut out = String::new();
    for line in lines {
        out.push_str(line.strip_prefix(common).unwrap_or_default().trim_end_matches('\r'));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::dedent;

    #[test]
    fn raw_strings_lose_the_indentation_of_the_spec() {
        assert_eq!(dedent("\n    a\n      b\n\n    c\n  "), "a\n  b\n\nc\n");
        assert_eq!(dedent("\n\t\ta:\n\t\t\tb\n"), "a:\n\tb\n");
        assert_eq!(dedent("    x:\n    \ty"), "x:\n\ty\n");
        assert_eq!(dedent("one"), "one\n");
        assert_eq!(dedent("\n  \n"), "");
    }
}
