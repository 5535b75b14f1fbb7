//! A package on its way to a derivation: everything but the ids of others.

use std::collections::{BTreeMap, BTreeSet};

use super::Wanted;
use super::declared::{
    CONFLICTS, DEPENDS, Declared, Offered, archive_packaging, control_field, generated_packaging,
    locked_packaging, own_packaging, renumbered,
};
use super::source::{self, Lowered};
use crate::archive::deb::dependency::Dependencies;
use crate::archive::deb::version::Version;
use crate::base::{Architecture, Diagnostic, Span};
use crate::spec::Spec;
use crate::spec::lock::{Lock, LockedPackaging};
use crate::spec::model::{Located, Package, Packaging, PackagingText, Source};
use crate::spec::release::Root;

/// Which packages a build makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makes {
    /// Those of its architecture, and those of none.
    Everything,
    /// Those of its architecture: another build makes the others.
    OfArchitecture,
}

/// A package whose names are known but not yet led anywhere.
pub struct Draft<'a> {
    pub architecture: &'a Architecture,
    pub package: &'a Package,
    pub root: &'a str,
    pub version: String,
    pub source: Lowered,
    /// The source whose `debian/` folder is laid over this one.
    pub packaging: Option<Lowered>,
    /// Other sources, by the path they are put at.
    pub extra: BTreeMap<String, Lowered>,
    pub profiles: BTreeSet<String>,
    pub depends: Vec<Wanted>,
    /// Whether a build dependency of the spec is not among them, because it is none.
    pub leaves_out: bool,
    pub conflicts: Dependencies,
    pub binaries: Vec<Offered>,
    pub files: BTreeMap<String, String>,
    pub script: &'a str,
    pub changelog: String,
    pub environment: BTreeMap<String, String>,
}

impl<'a> Draft<'a> {
    /// Everything that the spec and the lock say about `package`.
    pub fn new(
        package: &'a Package,
        spec: &'a Spec,
        lock: &Lock,
        architecture: &'a Architecture,
        makes: Makes,
    ) -> Result<Self, Diagnostic> {
        let (root_name, root) = choose_root(package, spec)?;
        let mut profiles = BTreeSet::new();
        let mut environment = package.env.clone();
        if package.without_tests.is_some() {
            profiles.insert("nocheck".to_owned());
            let options = environment.entry("DEB_BUILD_OPTIONS".to_owned()).or_default();
            *options = format!("{options} nocheck").trim().to_owned();
        }
        let mut files = package.build.files.clone();
        let fail = |message: String| {
            Diagnostic::new("packaging", message).at(package.span.clone(), "of this package")
        };
        let archive = root.archive.value.as_str();
        let lowered = |one| source::lower(one, package, archive, lock);
        let source = lowered(&package.source)?;
        let extra = package
            .extra
            .iter()
            .map(|(path, one)| Ok((path.clone(), lowered(one)?)))
            .collect::<Result<_, Diagnostic>>()?;
        let mut declared = match &package.source.value {
            Source::Archive { name } => {
                if *name != package.name {
                    return Err(Diagnostic::new(
                        "name-mismatch",
                        format!("package `{}` is built from source `{name}`", package.name),
                    )
                    .at(package.source.span.clone(), "its own packaging calls it so")
                    .hint(format!("name the package `{name}`")));
                }
                if package.build.packaging != Packaging::Own {
                    return Err(two_packagings(package));
                }
                let span = package.source.span.clone().unwrap_or_else(|| package.span.clone());
                let locked = source::locked_source(span, lock, archive, name)?;
                archive_packaging(locked, architecture, &profiles).map_err(fail)?
            }
            other => match &package.build.packaging {
                Packaging::Generated => generated_packaging(package, spec, &mut files)?,
                Packaging::Own => {
                    let place = package.source.span.clone();
                    folder_packaging(package, other, place, architecture, &profiles)?
                }
                Packaging::Other(other) => {
                    let place = package.fields.get("build").cloned();
                    folder_packaging(package, other, place, architecture, &profiles)?
                }
            },
        };
        check_version(package, &declared.version)?;
        let (version, changelog_text) = match package.build.packaging {
            Packaging::Generated => (declared.version.to_string(), String::new()),
            Packaging::Own | Packaging::Other(_) => renumbered(package, spec, &declared.version)?,
        };
        let packaging = match &package.build.packaging {
            Packaging::Other(other) => {
                let span = package.fields.get("build").cloned();
                Some(lowered(&Located { value: Source::clone(other), span })?)
            }
            Packaging::Own | Packaging::Generated => None,
        };
        if makes == Makes::OfArchitecture {
            declared.binaries.retain(|binary| !binary.all);
            declared.relations.retain(|field, _| !field.ends_with("-Indep"));
        }
        declared.binaries.sort_by(|a, b| a.name.cmp(&b.name));
        let (depends, leaves_out) = wanted(package, &declared, architecture, &profiles)?;
        let conflicts = CONFLICTS
            .iter()
            .filter_map(|field| declared.relations.get(*field))
            .map(|text| text.parse::<Dependencies>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fail(error.to_string()))?
            .into_iter()
            .flat_map(|list| list.reduce(architecture, &profiles).0)
            .collect();
        Ok(Self {
            architecture,
            package,
            root: root_name,
            version,
            source,
            packaging,
            extra,
            profiles,
            depends,
            leaves_out,
            conflicts: Dependencies(conflicts),
            binaries: declared.binaries,
            files,
            script: script(package, lock, architecture, makes)?,
            changelog: changelog_text,
            environment,
        })
    }
}

fn script<'a>(
    package: &'a Package,
    lock: &Lock,
    architecture: &Architecture,
    makes: Makes,
) -> Result<&'a str, Diagnostic> {
    let builder = &package.build;
    match (makes, &builder.script_any) {
        (Makes::Everything, _) => Ok(&builder.script),
        (Makes::OfArchitecture, Some(script)) => Ok(script),
        (Makes::OfArchitecture, None) => {
            let message = format!("`{}` builds for the first architecture only", builder.name);
            let hint = match lock.stdlib.contains_key(&builder.name) {
                true => "the pinned stdlib is of before that: `perestroika update stdlib` moves it"
                    .to_owned(),
                false => format!(
                    "a `recipe` with `script_any` does, and `architectures` limits `{}`",
                    package.name
                ),
            };
            Err(Diagnostic::new("unsupported", message)
                .at(package.fields.get("build").cloned(), format!("not for `{architecture}`"))
                .hint(hint))
        }
    }
}

/// What the `debian/` folder of a source says that is not the archive's.
fn folder_packaging(
    package: &Package,
    source: &Source,
    place: Option<Span>,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<Declared, Diagnostic> {
    let place = place.unwrap_or_else(|| package.span.clone());
    let fail = |message: String| {
        Diagnostic::new("packaging", message).at(place.clone(), "the packaging comes from here")
    };
    match own(source) {
        Some(Own::Text(text)) => own_packaging(package, text, architecture, profiles).map_err(fail),
        Some(Own::Locked(locked)) => {
            locked_packaging(package, locked, architecture, profiles).map_err(fail)
        }
        None => Err(Diagnostic::new(
            "no-packaging",
            format!(
                "the source of `{}` has no `debian/control` and `debian/changelog`",
                package.name
            ),
        )
        .at(place, "its packaging was asked for")
        .hint("`build: script(…)` generates the packaging of a plain source")),
    }
}

fn choose_root<'a>(
    package: &'a Package,
    spec: &'a Spec,
) -> Result<(&'a str, &'a Root), Diagnostic> {
    let roots = &spec.release.roots;
    match &package.root {
        Some(wanted) => roots.get_key_value(&wanted.value).ok_or_else(|| {
            let known = roots.keys().map(String::as_str);
            let error = Diagnostic::new("unknown-root", format!("unknown root `{}`", wanted.value))
                .at(wanted.span.clone(), "release.toml has no such `[root.NAME]`");
            match crate::base::nearest(&wanted.value, known) {
                Some(near) => error.hint(format!("there is `{near}`")),
                None => error,
            }
        }),
        None if roots.len() == 1 => Ok(roots.first_key_value().expect("there is one")),
        None => Err(Diagnostic::new(
            "no-root",
            format!("`{}` does not say in which root it is built", package.name),
        )
        .at(package.span.clone(), "add `root: \"…\"`")
        .hint(format!(
            "release.toml has {}",
            roots.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ))),
    }
    .map(|(name, root)| (name.as_str(), root))
}

fn two_packagings(package: &Package) -> Diagnostic {
    Diagnostic::new("two-packagings", format!("`{}` has its archive's packaging", package.name))
        .at(package.fields.get("build").cloned(), "this builder generates another")
        .hint("`build: debian()` uses the source's own")
}

/// What a source's own packaging is known by.
enum Own<'a> {
    Text(&'a PackagingText),
    Locked(&'a LockedPackaging),
}

fn own(source: &Source) -> Option<Own<'_>> {
    match source {
        Source::Dir { packaging, .. } => packaging.as_ref().map(Own::Text),
        Source::Git { pinned, .. } => pinned.as_ref()?.packaging.as_ref().map(Own::Locked),
        Source::Tarball(download) => download.pinned.as_ref()?.packaging.as_ref().map(Own::Locked),
        Source::Archive { .. } | Source::Fetched(_) | Source::File { .. } => None,
    }
}

/// The build dependencies, and whether some of the spec are left out that are none.
fn wanted(
    package: &Package,
    declared: &Declared,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<(Vec<Wanted>, bool), Diagnostic> {
    let mut found = Vec::new();
    let mut want = |depends: Dependencies, text: &str, span| {
        let (depends, text) = (depends.reduce(architecture, profiles), text.to_owned());
        found.push(Wanted { depends, text, span });
    };
    for field in DEPENDS {
        let Some(text) = declared.relations.get(field) else { continue };
        let span = control_field(package, field);
        let depends = text.parse().map_err(|error| {
            Diagnostic::new("dependency-syntax", format!("`{field}`: {error}"))
                .at(span.clone().unwrap_or_else(|| package.span.clone()), "in this list")
        })?;
        want(depends, text, span);
    }
    let mut leaves_out = false;
    let needs = package.build.needs.iter().map(|text| (text, None));
    let fields = package.build_depends.iter().map(|item| (&item.value, item.span.clone()));
    for (text, span) in needs.chain(fields) {
        match text.parse() {
            Ok(depends) => want(depends, text, span),
            Err(_) => leaves_out = true,
        }
    }
    Ok((found, leaves_out))
}

fn check_version(package: &Package, declared: &Version) -> Result<(), Diagnostic> {
    let Some(version) = &package.version else { return Ok(()) };
    if package.build.packaging == Packaging::Generated
        || version == declared.upstream()
        || *version == declared.to_string()
    {
        return Ok(());
    }
    Err(Diagnostic::new(
        "version-mismatch",
        format!("the spec says version `{version}`, the packaging `{declared}`"),
    )
    .at(package.fields.get("version").unwrap_or(&package.span).clone(), "of the spec")
    .hint("leave `version` out: the packaging's changelog has it"))
}
