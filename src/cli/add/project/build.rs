//! How a source is built, and what the files that say so also say.

use super::text::{calls, keyword, keyword_list, line_of, one_line, quoted};
use super::{Build, Files, Found, Need, Project, Sure, c, python};
use crate::archive::deb::contents::Wanted;

/// What the files that say how it is built say, by the first of these ways that there is.
pub fn project(files: &Files<'_>) -> Project {
    let ways: [fn(&Files<'_>) -> Option<Project>; 7] =
        [debian, autoconf, configure, meson, cmake, python::project, makefile];
    ways.iter().find_map(|way| way(files)).unwrap_or_default()
}

fn said(build: Build, from: &str) -> Option<Found<Build>> {
    Some(Found::said(build, from))
}

/// The source's own packaging says everything that is needed.
fn debian(files: &Files<'_>) -> Option<Project> {
    let control = files.text("debian/control")?;
    if !files.has("debian/rules") || !files.has("debian/changelog") {
        return None;
    }
    let name = control.lines().find_map(|line| line.strip_prefix("Source:"))?.trim().to_owned();
    Some(Project {
        build: said(Build::Debian, "debian/"),
        name: Some(Found::said(name, "debian/control")),
        ..Project::default()
    })
}

/// `configure.ac`
fn autoconf(files: &Files<'_>) -> Option<Project> {
    let path = ["configure.ac", "configure.in"].into_iter().find(|path| files.has(path))?;
    let text = files.text(path)?;
    let init = calls(&text, "AC_INIT").into_iter().next();
    let mut parts = init.iter().flat_map(|(_, inner)| inner.split(','));
    let mut part = || {
        let plain = parts.next()?.trim().trim_matches(['[', ']', '"', ' ']).to_owned();
        // What other macros make is not known before they run.
        let known = !plain.is_empty() && !plain.contains(['(', '$', '_']);
        known.then(|| Found::said(plain, format!("{path}, AC_INIT")))
    };
    let (name, version) = (part(), part());
    let mut needs = Vec::new();
    for (line, inner) in calls(&text, "PKG_CHECK_MODULES") {
        let arguments: Vec<&str> =
            inner.split(',').map(|part| part.trim().trim_matches(['[', ']'])).collect();
        // With a fourth argument, what is missing may be done without.
        let sure = if arguments.len() > 3 { Sure::Guessed } else { Sure::Said };
        let list = arguments.get(1).copied().unwrap_or_default();
        needs.extend(modules(list, &format!("{path}:{line}"), sure));
    }
    for (macros, program) in [
        (["AC_PROG_YACC", "AM_PROG_YACC", "AC_PROG_BISON"], "bison"),
        (["AC_PROG_LEX", "AM_PROG_LEX", "AC_PROG_FLEX"], "flex"),
        (["AM_GNU_GETTEXT", "AM_NLS", "AM_PO_SUBDIRS"], "msgfmt"),
    ] {
        if let Some(at) = macros.iter().find_map(|name| text.find(name)) {
            let from = format!("{path}:{}", line_of(&text, at));
            let wanted = Wanted::Program(program.to_owned());
            needs.push(Need { wanted, from, sure: Sure::Said });
        }
    }
    needs.extend(c::headers(files));
    Some(Project {
        build: said(Build::Autotools, path),
        name,
        version,
        needs,
        ..Project::default()
    })
}

/// A `configure` alone.
fn configure(files: &Files<'_>) -> Option<Project> {
    let text = files.text("configure")?;
    let variable = |name: &str| {
        let (_, value) = keyword(&text, name)?;
        Some(Found::said(value.to_owned(), format!("configure, {name}")))
    };
    Some(Project {
        build: said(Build::Autotools, "configure"),
        name: variable("PACKAGE_TARNAME"),
        version: variable("PACKAGE_VERSION"),
        needs: c::headers(files),
        ..Project::default()
    })
}

fn meson(files: &Files<'_>) -> Option<Project> {
    let text = files.text("meson.build")?;
    let (line, inner) = calls(&text, "project").into_iter().next()?;
    let from = format!("meson.build:{line}");
    let option =
        |name: &str| keyword(inner, name).map(|(_, value)| Found::said(value.to_owned(), &from));
    // A list of licences means that all of them hold.
    let listed = || keyword_list(inner, "license").map(|(_, all)| all.join(" AND "));
    let license = keyword(inner, "license").map(|(_, one)| one.to_owned()).or_else(listed);
    let mut needs = Vec::new();
    for path in files.named(|name| name == "meson.build") {
        let Some(text) = files.text(path) else { continue };
        let optional = |inner: &str| {
            ["get_option", "required: false", "required : false", "fallback"]
                .iter()
                .any(|word| inner.contains(word))
        };
        for (line, inner) in calls(&text, "dependency") {
            let Some(name) = quoted(inner).filter(|name| !is_of_meson(name)) else { continue };
            let sure = if optional(inner) { Sure::Guessed } else { Sure::Said };
            let from = format!("{path}:{line}");
            needs.extend(modules(name, &from, sure));
        }
        for (line, inner) in calls(&text, "find_program") {
            let known = quoted(inner).filter(|name| !name.contains(['/', '.']) && !optional(inner));
            let Some(name) = known else { continue };
            let wanted = Wanted::Program(name.to_owned());
            needs.push(Need { wanted, from: format!("{path}:{line}"), sure: Sure::Said });
        }
    }
    Some(Project {
        build: said(Build::Meson, "meson.build"),
        name: quoted(inner).map(|name| Found::said(name.to_owned(), &from)),
        version: option("version"),
        license: license.filter(|text| !text.is_empty()).map(|text| Found::said(text, &from)),
        needs,
        ..Project::default()
    })
}

/// Dependencies that Meson answers by itself.
fn is_of_meson(name: &str) -> bool {
    matches!(name, "threads" | "dl" | "m" | "openmp" | "iconv" | "intl" | "python3")
}

fn cmake(files: &Files<'_>) -> Option<Project> {
    let text = files.text("CMakeLists.txt")?;
    let (line, inner) = calls(&text, "project").into_iter().next().unwrap_or((1, ""));
    let from = format!("CMakeLists.txt:{line}");
    let words: Vec<&str> = inner.split_whitespace().collect();
    let known = |text: Option<&str>| {
        let text = text.filter(|text| !text.contains('$'))?;
        Some(Found::said(text.trim_matches('"').to_owned(), &from))
    };
    let after = |key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).copied()
    };
    let mut needs = Vec::new();
    let lists = files.named(|name| name == "CMakeLists.txt");
    for path in lists.into_iter().filter(|path| !path.contains("test")) {
        let Some(text) = files.text(path) else { continue };
        for (line, inner) in calls(&text, "find_package") {
            let name = inner.split_whitespace().next().unwrap_or_default();
            if matches!(name, "Threads" | "OpenMP" | "") || name.contains('$') {
                continue;
            }
            let sure = if inner.contains("REQUIRED") { Sure::Said } else { Sure::Guessed };
            let wanted = match name {
                "PkgConfig" => Wanted::Program("pkg-config".to_owned()),
                name => Wanted::Cmake(name.to_owned()),
            };
            needs.push(Need { wanted, from: format!("{path}:{line}"), sure });
        }
        for call in ["pkg_check_modules", "pkg_search_module"] {
            for (line, inner) in calls(&text, call) {
                let sure = if inner.contains("REQUIRED") { Sure::Said } else { Sure::Guessed };
                let list = inner.split_once(char::is_whitespace).map_or("", |(_, list)| list);
                needs.extend(modules(list, &format!("{path}:{line}"), sure));
            }
        }
    }
    let description = inner.find("DESCRIPTION").and_then(|at| quoted(&inner[at..]));
    Some(Project {
        build: said(Build::Cmake, "CMakeLists.txt"),
        name: known(words.first().copied()),
        version: known(after("VERSION")),
        summary: description.map(|text| Found::said(one_line(text), &from)),
        homepage: known(after("HOMEPAGE_URL")),
        needs,
        ..Project::default()
    })
}

fn makefile(files: &Files<'_>) -> Option<Project> {
    let path = ["GNUmakefile", "Makefile", "makefile"].into_iter().find(|path| files.has(path))?;
    let text = files.text(path)?;
    let variable = |names: [&str; 3]| {
        text.lines().enumerate().find_map(|(index, line)| {
            let (name, value) = line.split_once('=')?;
            let name = name.trim_end_matches([':', '?', ' ', '\t']).trim();
            let value = value.trim();
            let known = names.contains(&name) && !value.is_empty() && !value.contains(['$', ' ']);
            known.then(|| Found::said(value.to_owned(), format!("{path}:{}", index + 1)))
        })
    };
    let mut needs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((_, call)) = line.split_once("pkg-config ") else { continue };
        let call = call.split([')', '`', ';', '|']).next().unwrap_or_default();
        needs.extend(modules(call, &format!("{path}:{}", index + 1), Sure::Said));
    }
    needs.extend(c::headers(files));
    Some(Project {
        build: said(Build::Make, path),
        name: variable(["PACKAGE", "NAME", "PROJECT"]),
        version: variable(["VERSION", "PACKAGE_VERSION", "version"]),
        needs,
        ..Project::default()
    })
}

/// The modules of a list as pkg-config takes it, and pkg-config itself: `zlib >= 1.2 libpng`.
fn modules(list: &str, from: &str, sure: Sure) -> Vec<Need> {
    const OPTIONS: [&str; 6] =
        ["REQUIRED", "QUIET", "IMPORTED_TARGET", "GLOBAL", "NO_CMAKE_PATH", "STATIC"];
    let mut found = Vec::new();
    let mut words = list.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if matches!(word, "<" | ">" | "=" | "<=" | ">=" | "!=") {
            // The version that is compared with.
            words.next();
            continue;
        }
        let name = word.split(['<', '>', '=']).next().unwrap_or_default().trim_matches(['"', '\'']);
        let is_module = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !OPTIONS.contains(&name)
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
        if is_module {
            let wanted = Wanted::PkgConfig(name.to_owned());
            found.push(Need { wanted, from: from.to_owned(), sure });
        }
    }
    if !found.is_empty() {
        let wanted = Wanted::Program("pkg-config".to_owned());
        found.push(Need { wanted, from: from.to_owned(), sure });
    }
    found
}
