//! A spec that was found out, and how sure each part of it is.

use std::fmt::Write as _;

use super::catalog::Resolved;
use super::project::{Build, Found, Project, Sure};
use crate::archive::deb::version::Version;
use crate::base::PackageName;

/// A spec that could be written.
pub struct Draft {
    /// The package.
    pub name: PackageName,
    /// Its text.
    pub text: String,
    /// What was found out: field, value, where from, whether the source says so.
    pub findings: Vec<Finding>,
}

/// Something a spec says, and why.
pub struct Finding {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// Why.
    pub why: String,
    /// How sure that is.
    pub sure: Sure,
}

/// The spec of a package that is the archive's own.
pub fn rebuilt(
    name: &PackageName,
    archive: &str,
    root: Option<&str>,
    binaries: &[PackageName],
) -> Draft {
    let with = root.map(|root| format!(".with(#{{ root: {} }})", quoted(root))).unwrap_or_default();
    let list: Vec<&str> = binaries.iter().map(PackageName::as_str).collect();
    Draft {
        name: name.clone(),
        text: format!("rebuild({}){with}\n", quoted(name.as_str())),
        findings: vec![Finding {
            field: "source",
            value: format!("{name} of {archive}"),
            why: format!("builds {}", list.join(", ")),
            sure: Sure::Said,
        }],
    }
}

/// The spec of a project. `source` is how the spec names it, `date` that of its first changelog
/// entry, where it needs one.
///
/// # Errors
/// Why there can be none, in one line.
pub fn of(
    project: &Project,
    name: Option<&PackageName>,
    source: &str,
    date: Option<&str>,
    needs: &Resolved,
) -> Result<Draft, String> {
    let build = project.build.as_ref().ok_or(
        "no build system was recognised: looked for debian/, configure.ac, configure, \
         meson.build, CMakeLists.txt, pyproject.toml, setup.py and Makefile",
    )?;
    let mut findings = Vec::new();
    let mut note = |field, value: &str, why: &str, sure| {
        findings.push(Finding { field, value: value.to_owned(), why: why.to_owned(), sure });
    };
    let own = build.value == Build::Debian;
    let name_given = name;
    let called = project.name.as_ref().ok_or("nothing says what it is called")?;
    let name = match name {
        // Packaging of its own decides what a source is called.
        Some(name) if !own => name.clone(),
        _ => package_name(&called.value)
            .ok_or_else(|| format!("`{}` cannot be made a package's name", called.value))?,
    };
    if Some(&name) == name_given {
        note("name", name.as_str(), "`--name`", Sure::Said);
    } else {
        note("name", name.as_str(), &called.from, called.sure);
    }
    let mut fields = vec![format!("name: {}", quoted(name.as_str()))];
    if own {
        fields.push(format!("source: {source}"));
        fields.push("build: debian()".to_owned());
        note("build", "debian()", &build.from, build.sure);
        return Ok(Draft { name, text: text(&fields), findings });
    }
    let unsaid = |value: &str, why: &str| Found {
        value: value.to_owned(),
        from: why.to_owned(),
        sure: Sure::Guessed,
    };
    let version = project
        .version
        .as_ref()
        .and_then(|found| Some(Found { value: version(&found.value)?, ..found.clone() }))
        .unwrap_or_else(|| unsaid("0.1", "nothing says its version"));
    let summary =
        project.summary.clone().filter(|found| !found.value.is_empty()).unwrap_or_else(|| {
            unsaid(&format!("{name}, as its source has it"), "nothing describes it")
        });
    let license = project
        .license
        .clone()
        .unwrap_or_else(|| unsaid("LicenseRef-unknown", "no licence was recognised"));
    for (field, found) in [("version", &version), ("summary", &summary), ("license", &license)] {
        fields.push(format!("{field}: {}", quoted(&found.value)));
        note(field, &found.value, &found.from, found.sure);
    }
    if let Some(homepage) = &project.homepage {
        fields.push(format!("homepage: {}", quoted(&homepage.value)));
        note("homepage", &homepage.value, &homepage.from, homepage.sure);
    }
    if let Some(date) = date {
        fields.push(format!("changes: #{{ date: {}, text: \"First package.\" }}", quoted(date)));
    }
    fields.push(format!("source: {source}"));
    if !needs.packages.is_empty() {
        let mut names: Vec<String> =
            needs.packages.iter().map(|chosen| quoted(chosen.package.as_str())).collect();
        names.sort();
        fields.push(format!("build_depends: [{}]", names.join(", ")));
    }
    for chosen in &needs.packages {
        let mut why = format!("{} asks for `{}`", chosen.need.from, chosen.need.wanted.name());
        if !chosen.others.is_empty() {
            let others: Vec<&str> = chosen.others.iter().map(PackageName::as_str).collect();
            let _ = write!(why, "; {} would do too", others.join(", "));
        }
        let sure = if chosen.others.is_empty() { chosen.need.sure } else { Sure::Guessed };
        note("build_depends", chosen.package.as_str(), &why, sure);
    }
    let call = call(build.value);
    note("build", &call, &build.from, build.sure);
    fields.push(format!("build: {call}"));
    if matches!(build.value, Build::Python { .. }) && !project.has_programs {
        let binary = if name.as_str().starts_with("python3-") {
            name.to_string()
        } else {
            format!("python3-{}", name.as_str().trim_start_matches("python-"))
        };
        fields.push(format!("binaries: [#{{ name: {} }}]", quoted(&binary)));
        note("binaries", &binary, "a library: it installs no program", Sure::Guessed);
    }
    Ok(Draft { name, text: text(&fields), findings })
}

/// How the stdlib calls a way of building.
fn call(build: Build) -> String {
    match build {
        Build::Debian => "debian()".to_owned(),
        Build::Autotools => "autotools()".to_owned(),
        Build::Cmake => "cmake()".to_owned(),
        Build::Meson => "meson()".to_owned(),
        Build::Make => "make()".to_owned(),
        Build::Python { backend, compiled } => {
            let backend =
                (backend != "setuptools").then(|| format!("backend: {}", quoted(backend)));
            let compiled = compiled.then(|| "compiled: true".to_owned());
            let options: Vec<String> = backend.into_iter().chain(compiled).collect();
            if options.is_empty() {
                "python()".to_owned()
            } else {
                format!("python(#{{ {} }})", options.join(", "))
            }
        }
    }
}

fn text(fields: &[String]) -> String {
    let lines: String = fields.iter().map(|field| format!("    {field},\n")).collect();
    format!("package(#{{\n{lines}}})\n")
}

/// A string as specs write it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// A package's name as near as can be to what a project is called.
pub fn package_name(called: &str) -> Option<PackageName> {
    let plain: String = called
        .to_lowercase()
        .chars()
        .map(|c| if matches!(c, '_' | ' ' | '/') { '-' } else { c })
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(*c))
        .collect();
    plain.trim_matches(['-', '.', '+']).parse().ok()
}

/// The version that the spec of a project has, where the project says one.
pub fn version_of(project: &Project) -> Option<String> {
    version(&project.version.as_ref()?.value)
}

/// A version as the distribution orders it: what comes before a release sorts before it.
pub fn version(text: &str) -> Option<String> {
    const BEFORE: [&str; 7] = ["alpha", "beta", "dev", "pre", "rc", "a", "b"];
    let plain = text.trim().trim_start_matches(['v', 'V']);
    if !plain.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = plain.to_ascii_lowercase();
    let marked = BEFORE.iter().find_map(|word| {
        let at = lower.find(word)?;
        let behind = &lower[at + word.len()..];
        let ends =
            behind.is_empty() || behind.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let head = plain[..at].trim_end_matches(['-', '_', '.', '~']);
        let numbers = head.chars().all(|c| c.is_ascii_digit() || c == '.');
        (ends && numbers).then(|| format!("{head}~{}", &plain[at..]))
    });
    // A hyphen would begin a revision of the distribution's.
    let version = marked.unwrap_or_else(|| plain.to_owned()).replace(['-', '_'], "+");
    version.parse::<Version>().ok().map(|_| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_their_projects_mean_them() {
        for (written, meant) in [
            ("1.2.0", Some("1.2.0")),
            ("v2.1", Some("2.1")),
            ("1.0-rc1", Some("1.0~rc1")),
            ("1.0rc1", Some("1.0~rc1")),
            ("3.0.0b2", Some("3.0.0~b2")),
            ("2.0.dev3", Some("2.0~dev3")),
            ("1.2-5", Some("1.2+5")),
            ("1.1.1w", Some("1.1.1w")),
            ("unknown", None),
            ("1.0 beta!", None),
        ] {
            assert_eq!(version(written).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn any_text_can_be_quoted_and_many_become_names() {
        assert_eq!(quoted("a \"b\" \\ \n${c}"), "\"a \\\"b\\\" \\\\ ${c}\"");
        let name = |text: &str| package_name(text).map(|name| name.to_string());
        assert_eq!(name("My_Project").as_deref(), Some("my-project"));
        assert_eq!(name("GTK+").as_deref(), Some("gtk"));
        assert_eq!(name("ä"), None);
    }
}
