//! A package on its way to a derivation: everything but the ids of others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;

use super::derivation::{Source as SourceDerivation, SourceFile};
use super::{Wanted, packaging};
use crate::archive::deb::changelog;
use crate::archive::deb::control;
use crate::archive::deb::dependency::{
    Dependencies, architectures_hold, package_list_profiles, profiles_hold,
};
use crate::archive::deb::version::Version;
use crate::base::{Architecture, Diagnostic, PackageName, Span};
use crate::spec::Spec;
use crate::spec::lock::{Lock, LockedSource};
use crate::spec::model::{Changes, Package, Packaging, PackagingText, Source};
use crate::spec::release::Root;

/// A package whose names are known but not yet led anywhere.
pub struct Draft<'a> {
    pub package: &'a Package,
    pub root: &'a str,
    pub version: String,
    pub source: SourceDerivation,
    /// The folder below the archive's root, for a source of an archive.
    pub directory: Option<String>,
    pub profiles: BTreeSet<String>,
    pub depends: Vec<Wanted>,
    pub conflicts: Dependencies,
    pub binaries: Vec<Offered>,
    pub files: BTreeMap<String, String>,
    pub changelog: String,
    pub environment: BTreeMap<String, String>,
}

/// A binary package that a source builds, and the virtual ones it stands for.
#[derive(Debug, Clone)]
pub struct Offered {
    pub name: PackageName,
    pub provides: Vec<PackageName>,
}

/// What a source's packaging, its own or generated, says.
struct Declared {
    version: Version,
    relations: BTreeMap<String, String>,
    binaries: Vec<Offered>,
}

/// Build dependency fields of a build of architecture-dependent and independent packages alike
/// (Debian Policy 7.7).
const DEPENDS: [&str; 3] = ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"];
const CONFLICTS: [&str; 3] = ["Build-Conflicts", "Build-Conflicts-Arch", "Build-Conflicts-Indep"];

impl<'a> Draft<'a> {
    /// Everything that the spec and the lock say about `package`.
    pub fn new(
        package: &'a Package,
        spec: &'a Spec,
        lock: &Lock,
        architecture: &Architecture,
    ) -> Result<Self, Diagnostic> {
        refuse_unsupported(package)?;
        let (root_name, root) = choose_root(package, spec)?;
        let mut profiles = BTreeSet::new();
        let mut environment = package.env.clone();
        if package.without_tests.is_some() {
            profiles.insert("nocheck".to_owned());
            let options = environment.entry("DEB_BUILD_OPTIONS".to_owned()).or_default();
            *options = format!("{options} nocheck").trim().to_owned();
        }
        let mut files = package.build.files.clone();
        let mut changelog_text = String::new();
        let mut directory = None;
        let fail = |message: String| {
            Diagnostic::new("packaging", message).at(package.span.clone(), "of this package")
        };
        let (source, mut declared) = match &package.source.value {
            Source::Archive { name } => {
                if *name != package.name {
                    return Err(Diagnostic::new(
                        "name-mismatch",
                        format!("package `{}` is built from source `{name}`", package.name),
                    )
                    .at(package.source.span.clone(), "its own packaging calls it so")
                    .hint(format!("name the package `{name}`")));
                }
                let locked = locked_source(package, lock, &root.archive.value, name)?;
                directory = Some(locked.directory.clone());
                (
                    archive_source(package, locked)?,
                    archive_packaging(locked, architecture, &profiles).map_err(fail)?,
                )
            }
            Source::Dir { path, tree, packaging: text } => {
                let source = SourceDerivation::Tree { tree: tree.digest() };
                let declared = match (package.build.packaging, text) {
                    (Packaging::Own, Some(text)) => {
                        own_packaging(package, text, architecture, &profiles).map_err(fail)?
                    }
                    (Packaging::Own, None) => {
                        return Err(Diagnostic::new(
                            "no-packaging",
                            format!("`{path}` has no `debian/control` and `debian/changelog`"),
                        )
                        .at(package.source.span.clone(), "its own packaging was asked for")
                        .hint("`build: script(…)` generates the packaging of a plain source"));
                    }
                    (Packaging::Generated, _) => generated_packaging(package, spec, &mut files)?,
                };
                (source, declared)
            }
        };
        check_version(package, &declared.version)?;
        let mut version = declared.version.to_string();
        if package.build.packaging == Packaging::Own {
            if let Some(suffix) = &package.suffix {
                version.push_str(suffix);
                version.parse::<Version>().map_err(|error| fail(error.to_string()))?;
                let changes = required_changes(package)?;
                changelog_text = changelog::entry(
                    &package.name,
                    &version,
                    &spec.release.name,
                    &changes.text,
                    maintainer(package, spec),
                    date(package, changes)?,
                );
            } else if package.changes.is_some() {
                return Err(Diagnostic::new(
                    "changes-without-suffix",
                    format!("`{}` has `changes` but keeps its version", package.name),
                )
                .at(
                    package.fields.get("changes").cloned(),
                    "a changed package needs a version of its own",
                )
                .hint("add `suffix: \"+demo1\"`"));
            }
        }
        declared.binaries.sort_by(|a, b| a.name.cmp(&b.name));
        let depends = wanted(package, &declared, architecture, &profiles)?;
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
            package,
            root: root_name,
            version,
            source,
            directory,
            profiles,
            depends,
            conflicts: Dependencies(conflicts),
            binaries: declared.binaries,
            files,
            changelog: changelog_text,
            environment,
        })
    }
}

/// Fields of the language that this version cannot honour are refused, never ignored.
fn refuse_unsupported(package: &Package) -> Result<(), Diagnostic> {
    let unsupported = [
        ("patches", !package.patches.is_empty()),
        ("architectures", !package.architectures.is_empty()),
        ("binaries", !package.binaries.is_empty()),
    ];
    match unsupported.iter().find(|(_, used)| *used) {
        None => Ok(()),
        Some((field, _)) => Err(Diagnostic::new(
            "unsupported",
            format!("`{field}` is not supported by this version"),
        )
        .at(package.fields.get(*field).unwrap_or(&package.span).clone(), "used here")),
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

fn locked_source<'a>(
    package: &Package,
    lock: &'a Lock,
    archive: &str,
    name: &PackageName,
) -> Result<&'a LockedSource, Diagnostic> {
    lock.sources.get(&(archive.to_owned(), name.clone())).ok_or_else(|| {
        Diagnostic::new("unpinned", format!("source `{name}` of archive `{archive}` is not pinned"))
            .at(
                package.source.span.clone().or_else(|| Some(package.span.clone())),
                "release.lock does not have it",
            )
            .hint("`perestroika lock` pins it")
    })
}

fn archive_source(
    package: &Package,
    locked: &LockedSource,
) -> Result<SourceDerivation, Diagnostic> {
    let bad = |message: &str| {
        Diagnostic::new("lock", format!("the pin of `{}` {message}", package.name))
            .hint(format!("`perestroika update {}` pins it anew", package.name))
    };
    let dsc = locked
        .files
        .iter()
        .find(|file| file.name.ends_with(".dsc"))
        .ok_or_else(|| bad("names no `.dsc`"))?;
    if package.build.packaging == Packaging::Generated {
        return Err(Diagnostic::new(
            "two-packagings",
            format!("`{}` has its archive's packaging", package.name),
        )
        .at(package.fields.get("build").cloned(), "this builder generates another")
        .hint("`build: debian()` uses the source's own"));
    }
    let files = locked
        .files
        .iter()
        .map(|file| SourceFile { name: file.name.clone(), size: file.size, sha256: file.sha256 })
        .collect();
    Ok(SourceDerivation::Debian { dsc: dsc.name.clone(), files })
}

fn archive_packaging(
    locked: &LockedSource,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<Declared, String> {
    let mut binaries = Vec::new();
    for binary in &locked.binaries {
        if !builds(&binary.architecture, architecture)
            || !profiles_hold(&package_list_profiles(&binary.profiles), profiles)
        {
            continue;
        }
        let provides = provided(&binary.provides)?;
        binaries.push(Offered { name: binary.name.clone(), provides });
    }
    Ok(Declared {
        version: locked.version.parse().map_err(|error| format!("{error}"))?,
        relations: locked.relations.clone(),
        binaries,
    })
}

fn own_packaging(
    package: &Package,
    text: &PackagingText,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<Declared, String> {
    let entry = changelog::top(&text.changelog)
        .map_err(|error| format!("debian/changelog of `{}`: {error}", package.name))?;
    let in_control = |error: String| format!("debian/control of `{}`: {error}", package.name);
    let mut paragraphs = control::commented_paragraphs(&text.control);
    let source = paragraphs
        .next()
        .ok_or_else(|| in_control("is empty".to_owned()))?
        .map_err(|error| in_control(error.to_string()))?;
    if source.get("Source") != Some(package.name.as_str()) || entry.name != package.name {
        return Err(format!(
            "the spec says `{}`, debian/control `{}`, debian/changelog `{}`",
            package.name,
            source.get("Source").unwrap_or_default(),
            entry.name,
        ));
    }
    let relations = DEPENDS
        .iter()
        .chain(&CONFLICTS)
        .filter_map(|field| Some(((*field).to_owned(), source.get(field)?.to_owned())))
        .collect();
    let mut binaries = Vec::new();
    for paragraph in paragraphs {
        let paragraph = paragraph.map_err(|error| in_control(error.to_string()))?;
        let name = paragraph
            .get("Package")
            .ok_or_else(|| in_control("a paragraph has no `Package`".to_owned()))?;
        let formula = paragraph.get("Build-Profiles").unwrap_or_default();
        let field = paragraph.get("Architecture").unwrap_or_default();
        if !builds(field, architecture)
            || !restriction_holds(formula, architecture, profiles).map_err(&in_control)?
        {
            continue;
        }
        binaries.push(Offered {
            name: name.parse().map_err(|error| in_control(format!("{error}")))?,
            provides: provided(paragraph.get("Provides").unwrap_or_default())
                .map_err(&in_control)?,
        });
    }
    Ok(Declared { version: entry.version, relations, binaries })
}

fn generated_packaging(
    package: &Package,
    spec: &Spec,
    files: &mut BTreeMap<String, String>,
) -> Result<Declared, Diagnostic> {
    let missing = |field: &str, example: &str| {
        Diagnostic::new("missing-field", format!("`{}` needs `{field}`", package.name))
            .at(package.span.clone(), "its packaging is generated from the fields")
            .hint(format!("add `{field}: {example}`"))
    };
    let mut version = package.version.clone().ok_or_else(|| missing("version", "\"1.0\""))?;
    if let Some(revision) = &package.revision {
        version = format!("{version}-{revision}");
    }
    version.push_str(package.suffix.as_deref().unwrap_or_default());
    let parsed: Version = version.parse().map_err(|error| {
        Diagnostic::new("version", format!("{error}"))
            .at(package.fields.get("version").cloned(), "not a version")
    })?;
    let mut build_depends = package.build.needs.clone();
    build_depends.extend(package.build_depends.iter().map(|depends| depends.value.clone()));
    let changes = required_changes(package)?;
    let facts = packaging::Facts {
        maintainer: maintainer(package, spec),
        distribution: &spec.release.name,
        version: &version,
        summary: package.summary.as_deref().ok_or_else(|| missing("summary", "\"…\""))?,
        license: package.license.as_deref().ok_or_else(|| missing("license", "\"MIT\""))?,
        changes: &changes.text,
        date: date(package, changes)?,
        build_depends: &build_depends,
    };
    for (path, text) in packaging::generate(package, &facts) {
        files.entry(path).or_insert(text);
    }
    let name = packaging::binary_name(package).clone();
    Ok(Declared {
        version: parsed,
        relations: BTreeMap::new(),
        binaries: vec![Offered { name, provides: Vec::new() }],
    })
}

fn wanted(
    package: &Package,
    declared: &Declared,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<Vec<Wanted>, Diagnostic> {
    let own = DEPENDS.iter().filter_map(|field| {
        Some((declared.relations.get(*field)?.clone(), control_field(package, field)))
    });
    let needs = package.build.needs.iter().map(|text| (text.clone(), None));
    let fields = package.build_depends.iter().map(|item| (item.value.clone(), item.span.clone()));
    own.chain(needs)
        .chain(fields)
        .map(|(text, span)| {
            let depends: Dependencies = text.parse().map_err(|error| {
                Diagnostic::new("dependency-syntax", format!("{error}"))
                    .at(span.clone().or_else(|| Some(package.span.clone())), "in this list")
            })?;
            Ok(Wanted { depends: depends.reduce(architecture, profiles), text, span })
        })
        .collect()
}

/// Where a field stands in the `debian/control` of a folder of the release.
fn control_field(package: &Package, field: &str) -> Option<Span> {
    let Source::Dir { path, packaging: Some(text), .. } = &package.source.value else {
        return None;
    };
    let heads = |line: &str| {
        line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case(field))
    };
    let line = text.control.lines().position(heads)?;
    Some(Span {
        file: format!("{path}/debian/control").parse().ok()?,
        line: u32::try_from(line).ok()?.checked_add(1)?,
        column: 1,
        length: u32::try_from(field.len()).ok()?,
    })
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

fn required_changes(package: &Package) -> Result<&Changes, Diagnostic> {
    package.changes.as_ref().ok_or_else(|| {
        Diagnostic::new("missing-field", format!("`{}` needs `changes`", package.name))
            .at(package.span.clone(), "its changelog entry, and the date of everything built")
            .hint("add `changes: #{ date: \"2026-11-22\", text: \"…\" }`")
    })
}

fn date(package: &Package, changes: &Changes) -> Result<Timestamp, Diagnostic> {
    let midnight = |date: Date| date.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp());
    changes
        .date
        .parse::<Timestamp>()
        .or_else(|_| changes.date.parse::<Date>().and_then(midnight))
        .map_err(|_| {
            Diagnostic::new("date", format!("`{}` is not a date", changes.date))
                .at(package.fields.get("changes").cloned(), "in these changes")
                .hint("write `2026-11-22`, or `2026-11-22T12:00:00Z`")
        })
}

fn maintainer<'a>(package: &'a Package, spec: &'a Spec) -> &'a str {
    package.maintainer.as_deref().unwrap_or(&spec.release.maintainer)
}

fn provided(text: &str) -> Result<Vec<PackageName>, String> {
    // Substitution variables are the build's to fill in; what they provide is not known before.
    let known: Vec<&str> =
        text.split(',').map(str::trim).filter(|item| !item.contains("${")).collect();
    let provides: Dependencies = known.join(", ").parse().map_err(|error| format!("{error}"))?;
    Ok(provides.0.into_iter().flat_map(|item| item.0).map(|relation| relation.name).collect())
}

/// Whether a build for `architecture` makes a package with this `Architecture` field (Debian
/// Policy 5.6.8). The first architecture of a release also builds the `all` packages.
fn builds(field: &str, architecture: &Architecture) -> bool {
    architectures_hold(field, architecture) || architectures_hold(field, &Architecture::all())
}

/// Whether a `Build-Profiles` field (`<!stage1> <!nodoc>`) holds: it is written as the
/// restriction of a dependency is.
fn restriction_holds(
    field: &str,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<bool, String> {
    let restricted: Dependencies =
        format!("package {field}").parse().map_err(|error| format!("{error}"))?;
    Ok(!restricted.reduce(architecture, profiles).0.is_empty())
}
