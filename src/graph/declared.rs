//! What a source's packaging says, its own or a generated one: version, relations, binaries.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;

use super::packaging;
use crate::archive::deb::changelog;
use crate::archive::deb::control;
use crate::archive::deb::dependency::{
    Dependencies, architectures_hold, package_list_profiles, profiles_hold,
};
use crate::archive::deb::version::Version;
use crate::base::{Architecture, Diagnostic, PackageName, Span};
use crate::spec::Spec;
use crate::spec::lock::{LockedPackaging, LockedSource};
use crate::spec::model::{
    Binary, Changes, Package, Packaging, PackagingText, Portability, Source, all_of,
};

/// A binary package that a source builds, and the virtual ones it stands for.
#[derive(Debug, Clone)]
pub struct Offered {
    pub name: PackageName,
    pub provides: Vec<PackageName>,
    /// Whether it is of no architecture, so that it is built once for all of them.
    pub all: bool,
}

/// What a source's packaging, its own or generated, says.
pub struct Declared {
    pub version: Version,
    pub relations: BTreeMap<String, String>,
    pub binaries: Vec<Offered>,
}

/// Build dependency fields of a build of architecture-dependent and independent packages alike
/// (Debian Policy 7.7).
pub const DEPENDS: [&str; 3] = ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"];
/// Build conflict fields, likewise.
pub const CONFLICTS: [&str; 3] =
    ["Build-Conflicts", "Build-Conflicts-Arch", "Build-Conflicts-Indep"];

/// What the lock says of a source package of an archive.
pub fn archive_packaging(
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
        let all = is_all(&binary.architecture, architecture);
        binaries.push(Offered { name: binary.name.clone(), provides, all });
    }
    Ok(Declared {
        version: locked.version.parse().map_err(|error| format!("{error}"))?,
        relations: locked.relations.clone(),
        binaries,
    })
}

/// What the lock says of the `debian/` folder of a source from elsewhere.
pub fn locked_packaging(
    package: &Package,
    locked: &LockedPackaging,
    architecture: &Architecture,
    profiles: &BTreeSet<String>,
) -> Result<Declared, String> {
    if locked.source != package.name {
        return Err(format!(
            "the spec says `{}`, debian/control of its source `{}`",
            package.name, locked.source
        ));
    }
    let mut binaries = Vec::new();
    for binary in &locked.binaries {
        if builds(&binary.architecture, architecture)
            && restriction_holds(&binary.profiles, architecture, profiles)?
        {
            let provides = provided(&binary.provides)?;
            let all = is_all(&binary.architecture, architecture);
            binaries.push(Offered { name: binary.name.clone(), provides, all });
        }
    }
    Ok(Declared {
        version: locked.version.parse().map_err(|error| format!("{error}"))?,
        relations: locked.relations.clone(),
        binaries,
    })
}

/// What the `debian/` folder of a source says.
pub fn own_packaging(
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
            all: is_all(field, architecture),
        });
    }
    Ok(Declared { version: entry.version, relations, binaries })
}

/// What the package's own fields say; the `debian/` folder that says it is added to `files`.
pub fn generated_packaging(
    package: &Package,
    spec: &Spec,
    files: &mut BTreeMap<String, String>,
) -> Result<Declared, Diagnostic> {
    let (Some(version), Some(summary), Some(license), false) =
        (&package.version, &package.summary, &package.license, package.is_undated())
    else {
        return Err(lacking(package));
    };
    let date = date(package)?;
    let mut version = version.clone();
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
    let changes = match &package.changes {
        Some(changes) => changes.text.clone(),
        None => format!("Version {}.", parsed.upstream()),
    };
    let facts = packaging::Facts {
        maintainer: maintainer(package, spec),
        author: author(package, spec),
        distribution: &spec.release.name,
        version: &version,
        summary,
        license,
        changes: &changes,
        date,
        build_depends: &build_depends,
    };
    for (path, text) in packaging::generate(package, &facts) {
        files.entry(path).or_insert(text);
    }
    let offered = |binary: &Binary| {
        let provides = binary.relations.get("provides").into_iter().flatten();
        let provides = provides.flat_map(|item| provided(&item.value).unwrap_or_default());
        let portability = binary.architecture.unwrap_or(package.build.architecture);
        let all = portability == Portability::All;
        Offered { name: binary.name.clone(), provides: provides.collect(), all }
    };
    let binaries = packaging::binaries(package).iter().map(offered).collect();
    Ok(Declared { version: parsed, relations: BTreeMap::new(), binaries })
}

/// The fields that generated packaging cannot do without and that `package` lacks, all at once.
fn lacking(package: &Package) -> Diagnostic {
    let lacking = package.lacking();
    let names = all_of(lacking.iter().map(|(name, _)| *name));
    let error = Diagnostic::new("missing-field", format!("`{}` needs {names}", package.name))
        .at(package.span.clone(), "its packaging is generated from the fields");
    lacking.iter().fold(error, |error, (_, example)| error.hint(format!("add {example}")))
}

/// The version that a package with its own packaging, or another source's, gets, and the text put
/// before its changelog if that is another one than the packaging's.
///
/// `revision` replaces the packaging's, its epoch stays; `suffix` is appended.
pub fn renumbered(
    package: &Package,
    spec: &Spec,
    declared: &Version,
) -> Result<(String, String), Diagnostic> {
    let mut version = match &package.revision {
        None => declared.to_string(),
        Some(revision) => {
            let epoch = declared.as_str().split_once(':').map(|(epoch, _)| format!("{epoch}:"));
            format!("{}{}-{revision}", epoch.unwrap_or_default(), declared.upstream())
        }
    };
    version.push_str(package.suffix.as_deref().unwrap_or_default());
    version.parse::<Version>().map_err(|error| {
        Diagnostic::new("version", error.to_string()).at(package.span.clone(), "of this package")
    })?;
    if version != declared.as_str() {
        let changes = required_changes(package)?;
        let (author, date) = (author(package, spec), date(package)?);
        let (name, release) = (&package.name, &spec.release.name);
        let text = changelog::entry(name, &version, release, &changes.text, author, date);
        return Ok((version, text));
    }
    if package.changes.is_some() {
        return Err(Diagnostic::new(
            "changes-without-suffix",
            format!("`{}` has `changes` but keeps its version", package.name),
        )
        .at(package.fields.get("changes").cloned(), "a changed package needs a version of its own")
        .hint("add `suffix: \"+demo1\"`"));
    }
    if package.build.packaging == Packaging::Own
        && matches!(package.source.value, Source::Archive { .. })
        && !package.patches.is_empty()
    {
        return Err(Diagnostic::new(
            "patched-version",
            format!("`{}` is patched but keeps the archive's version `{version}`", package.name),
        )
        .at(
            package.fields.get("patches").unwrap_or(&package.span).clone(),
            "what differs must be told apart",
        )
        .hint("add `suffix: \"+demo1\", changes: #{ date: \"2026-11-22\", text: \"…\" }`"));
    }
    Ok((version, String::new()))
}

/// Where a field stands in the `debian/control` of a folder of the release.
pub fn control_field(package: &Package, field: &str) -> Option<Span> {
    let source = match &package.build.packaging {
        Packaging::Other(source) => source,
        Packaging::Own | Packaging::Generated => &package.source.value,
    };
    let Source::Dir { path, packaging: Some(text), .. } = source else { return None };
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

/// The changelog entry that a package with a version of its own needs.
fn required_changes(package: &Package) -> Result<&Changes, Diagnostic> {
    package.changes.as_ref().ok_or_else(|| {
        Diagnostic::new("missing-field", format!("`{}` needs `changes`", package.name))
            .at(package.span.clone(), "its changelog entry, and the date of everything built")
            .hint("add `changes: #{ date: \"2026-11-22\", text: \"…\" }`")
    })
}

/// The date of a package's newest changelog entry, and so of everything built: that of its
/// `changes`, else its source's, else its field `date`. A mere date is midnight in UTC.
fn date(package: &Package) -> Result<Timestamp, Diagnostic> {
    let commit = match &package.source.value {
        Source::Git { pinned, .. } => pinned.as_ref().map(|pin| pin.date.as_str()),
        _ => None,
    };
    let (field, text) = match (&package.changes, commit, &package.date) {
        (Some(changes), ..) => ("changes", changes.date.as_str()),
        (None, Some(date), _) => ("source", date),
        (None, None, Some(date)) => ("date", date.as_str()),
        (None, None, None) => {
            return Err(Diagnostic::new(
                "missing-field",
                format!("`{}` needs `date`", package.name),
            )
            .at(package.span.clone(), "the date of its changelog, and of everything built")
            .hint(
                "add `date: \"2026-11-22\"`, or `changes: #{ date: \"2026-11-22\", text: \"…\" }`",
            ));
        }
    };
    let midnight = |date: Date| date.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp());
    text.parse::<Timestamp>().or_else(|_| text.parse::<Date>().and_then(midnight)).map_err(|_| {
        Diagnostic::new("date", format!("`{text}` is not a date"))
            .at(package.fields.get(field).cloned(), format!("in this field `{field}`"))
            .hint("write `2026-11-22`, or `2026-11-22T12:00:00Z`")
    })
}

/// Who a changelog entry is by: whom its changes name, or else the maintainer.
fn author<'a>(package: &'a Package, spec: &'a Spec) -> &'a str {
    let author = package.changes.as_ref().and_then(|changes| changes.author.as_deref());
    author.unwrap_or_else(|| maintainer(package, spec))
}

/// The package's maintainer, or else the release's.
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

/// Whether a package with this `Architecture` field, which a build for `architecture` makes, is one
/// of no architecture.
fn is_all(field: &str, architecture: &Architecture) -> bool {
    !architectures_hold(field, architecture)
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
