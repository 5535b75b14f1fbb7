//! Python projects: `pyproject.toml`, `setup.cfg`, `setup.py`, `requirements.txt`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::text::{keyword, keyword_list, line_of, one_line};
use super::{Build, Files, Found, Need, Project, Sure};
use crate::archive::deb::contents::Wanted;
use crate::cli::add::license;

/// What a Python project says of itself, its declarations before its code.
pub fn project(files: &Files<'_>) -> Option<Project> {
    let text = files.text("pyproject.toml");
    let declared = text.as_deref().and_then(|text| text.parse::<Table>().ok());
    // Some have one for their tools alone.
    let declared = declared.filter(|table| {
        table.contains_key("project")
            || table.contains_key("build-system")
            || poetry(table).is_some()
    });
    if declared.is_none() && !files.has("setup.py") {
        return None;
    }
    let mut project = declared.as_ref().map(of_pyproject).unwrap_or_default();
    let from = if declared.is_some() { "pyproject.toml" } else { "setup.py" };
    let backend = declared.as_ref().map_or("setuptools", backend);
    let setup = files.text("setup.py").unwrap_or_default();
    let is_compiled = |name: &str| name.ends_with(".pyx") || name.ends_with(".c");
    let compiled = !files.named(is_compiled).is_empty() || setup.contains("ext_modules");
    project.build = Some(Found::said(Build::Python { backend, compiled }, from));
    if let Some(text) = files.text("setup.cfg") {
        fill(&mut project, of_config(&text));
    }
    fill(&mut project, of_setup(&setup));
    if project.version.is_none() {
        project.version = version_in_code(files);
    }
    if project.needs.is_empty()
        && let Some(text) = files.text("requirements.txt")
    {
        let lines = text.lines().enumerate();
        project.needs.extend(
            lines.filter_map(|(at, line)| need(line, &format!("requirements.txt:{}", at + 1))),
        );
    }
    Some(project)
}

/// Takes from `other` what is not known yet.
fn fill(project: &mut Project, other: Project) {
    project.name = project.name.take().or(other.name);
    project.version = project.version.take().or(other.version);
    project.license = project.license.take().or(other.license);
    project.summary = project.summary.take().or(other.summary);
    project.homepage = project.homepage.take().or(other.homepage);
    project.has_programs |= other.has_programs;
    project.needs.extend(other.needs);
}

fn poetry(table: &Table) -> Option<&Table> {
    table.get("tool")?.get("poetry")?.as_table()
}

/// What builds it, as the stdlib's `python` calls it.
fn backend(table: &Table) -> &'static str {
    let system = table.get("build-system");
    let name = system.and_then(|system| system.get("build-backend")).and_then(Value::as_str);
    match name.unwrap_or_default() {
        name if name.starts_with("flit") => "flit",
        name if name.starts_with("poetry") => "poetry",
        name if name.starts_with("hatchling") => "hatchling",
        _ => "setuptools",
    }
}

/// `[project]` (PEP 621), or else `[tool.poetry]`.
fn of_pyproject(table: &Table) -> Project {
    const FILE: &str = "pyproject.toml";
    /// What the stdlib's `python` brings by itself.
    const BROUGHT: [&str; 6] =
        ["setuptools", "wheel", "flit-core", "poetry-core", "hatchling", "pip"];
    let mut project = Project::default();
    let main = table.get("project").and_then(Value::as_table).or_else(|| poetry(table));
    let listed = |value: Option<&Value>| -> Vec<Need> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| need(item.as_str()?, FILE)).collect()
    };
    let system = table.get("build-system").and_then(|system| system.get("requires"));
    let is_brought = |need: &Need| {
        let name = need.wanted.name().replace(['_', '.'], "-").to_ascii_lowercase();
        BROUGHT.contains(&name.as_str())
    };
    project.needs.extend(listed(system).into_iter().filter(|need| !is_brought(need)));
    let Some(main) = main else { return project };
    let text = |key: &str| {
        let value = main.get(key)?.as_str()?.trim();
        (!value.is_empty()).then(|| Found::said(value.to_owned(), FILE))
    };
    project.name = text("name");
    project.version = text("version");
    project.summary = text("description").map(summarised);
    let inner = main.get("license").and_then(|license| license.get("text"));
    let inner = inner.and_then(Value::as_str).map(|text| Found::said(text.to_owned(), FILE));
    project.license = text("license").or(inner).and_then(licensed).or_else(|| classifier(main));
    let urls = main.get("urls").and_then(Value::as_table);
    let home = urls.into_iter().flatten().find_map(|(key, url)| {
        let key = key.to_ascii_lowercase();
        ["homepage", "home", "repository", "source"].contains(&&*key).then(|| url.as_str())?
    });
    let home = home.map(|url| Found::said(url.to_owned(), FILE));
    project.homepage = home.or_else(|| text("homepage"));
    project.has_programs = main.contains_key("scripts") || main.contains_key("gui-scripts");
    project.needs.extend(listed(main.get("dependencies")));
    // Poetry writes a table.
    let table = main.get("dependencies").and_then(Value::as_table);
    let names = table.into_iter().flatten().map(|(name, _)| name).filter(|name| *name != "python");
    project.needs.extend(names.filter_map(|name| need(name, FILE)));
    project
}

fn summarised(found: Found) -> Found {
    Found { value: one_line(&found.value), ..found }
}

fn licensed(found: Found) -> Option<Found> {
    license::spdx(&found.value).map(|value| Found { value, ..found })
}

/// A licence as one of Python's classifiers has it.
fn classifier(main: &Table) -> Option<Found> {
    let classifiers = main.get("classifiers")?.as_array()?.iter().filter_map(Value::as_str);
    let mut licenses =
        classifiers.filter_map(|text| text.strip_prefix("License :: OSI Approved :: "));
    let value = licenses.find_map(license::spdx)?;
    Some(Found::said(value, "pyproject.toml, its classifiers"))
}

/// `[metadata]` and `[options]` of a `setup.cfg`.
fn of_config(text: &str) -> Project {
    let mut values: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    let (mut section, mut key) = (String::new(), String::new());
    for (index, line) in text.lines().enumerate() {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            section = name.to_owned();
            key.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = values.get_mut(&(section.clone(), key.clone())) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once('=') {
            key = name.trim().replace('-', "_");
            let value = (index + 1, value.trim().to_owned());
            values.insert((section.clone(), key.clone()), value);
        }
    }
    let get = |section: &str, key: &str| {
        let (line, value) = values.get(&(section.to_owned(), key.to_owned()))?;
        // `attr: module.version` is known only to Python.
        let plain = !value.is_empty() && !value.contains('\n') && !value.contains(": ");
        plain.then(|| Found::said(value.clone(), format!("setup.cfg:{line}")))
    };
    let requires = values.get(&("options".to_owned(), "install_requires".to_owned()));
    let needs = requires.into_iter().flat_map(|(line, list)| {
        list.lines().filter_map(move |item| need(item, &format!("setup.cfg:{line}")))
    });
    Project {
        name: get("metadata", "name"),
        version: get("metadata", "version"),
        license: get("metadata", "license").and_then(licensed),
        summary: get("metadata", "description")
            .or_else(|| get("metadata", "summary"))
            .map(summarised),
        homepage: get("metadata", "url").or_else(|| get("metadata", "home_page")),
        has_programs: values.keys().any(|(_, key)| key == "console_scripts"),
        needs: needs.collect(),
        ..Project::default()
    }
}

/// The call of `setup` in a `setup.py`, as far as it is written out.
fn of_setup(text: &str) -> Project {
    let get = |key: &str| {
        let (at, value) = keyword(text, key)?;
        Some(Found::said(value.to_owned(), format!("setup.py:{}", line_of(text, at))))
    };
    let requires = keyword_list(text, "install_requires");
    let needs = requires.into_iter().flat_map(|(at, list)| {
        let from = format!("setup.py:{}", line_of(text, at));
        list.into_iter().filter_map(move |item| need(item, &from)).collect::<Vec<_>>()
    });
    Project {
        name: get("name"),
        version: get("version"),
        license: get("license").and_then(licensed),
        summary: get("description").map(summarised),
        homepage: get("url"),
        has_programs: text.contains("console_scripts") || text.contains("scripts="),
        needs: needs.collect(),
        ..Project::default()
    }
}

/// `__version__ = "1.2"` of the package's own code.
fn version_in_code(files: &Files<'_>) -> Option<Found> {
    const LOOKED_AT: usize = 20;
    let is_code = |name: &str| {
        matches!(name, "__init__.py" | "__version__.py" | "_version.py" | "version.py")
    };
    let paths = files.named(is_code).into_iter().filter(|path| !path.contains("test"));
    paths.take(LOOKED_AT).find_map(|path| {
        let text = files.text(path)?;
        let (at, value) = keyword(&text, "__version__")?;
        Some(Found::guessed(value.to_owned(), format!("{path}:{}", line_of(&text, at))))
    })
}

/// A requirement (PEP 508), unless it only holds elsewhere.
fn need(text: &str, from: &str) -> Option<Need> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    let name = &text[..end.unwrap_or(text.len())];
    let elsewhere = text.split_once(';').is_some_and(|(_, marker)| {
        ["extra", "win32", "Windows", "darwin", "python_version <", "python_version<"]
            .iter()
            .any(|word| marker.contains(word))
    });
    let named = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !elsewhere;
    let wanted = Wanted::PythonProject(name.to_owned());
    named.then(|| Need { wanted, from: from.to_owned(), sure: Sure::Said })
}
