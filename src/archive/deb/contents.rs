//! Contents indexes: which package of a suite has which file (Debian repository format,
//! "Contents indices"), reduced to the files that builds ask for by name.
//!
//! An index of Debian has 670 MB; what is kept of it has 25 and is searched line by line.

use std::io::{self, BufRead, Read as _, Write};

use crate::base::PackageName;

/// Something that a build asks for and that a file of some package would be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A header as it is included: `curl/curl.h`.
    Header(String),
    /// A library as it is linked: `z` of `-lz`.
    Library(String),
    /// A module of pkg-config: `libxml-2.0`.
    PkgConfig(String),
    /// A package as CMake's `find_package` calls it: `ZLIB`.
    Cmake(String),
    /// A program, by name or absolute path.
    Program(String),
    /// A module as Python imports it: `yaml`.
    PythonModule(String),
    /// A project as Python's package index calls it: `PyYAML`.
    PythonProject(String),
    /// A file of a Perl module: `Debian/Debhelper/Sequence/python3.pm`.
    PerlModule(String),
}

impl Wanted {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Header(name)
            | Self::Library(name)
            | Self::PkgConfig(name)
            | Self::Cmake(name)
            | Self::Program(name)
            | Self::PythonModule(name)
            | Self::PythonProject(name)
            | Self::PerlModule(name) => name,
        }
    }
}

/// A package that has what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provider {
    /// The package.
    pub package: PackageName,
    /// The file, without a leading `/`.
    pub path: String,
}

/// Longest line that is looked at, in bytes: paths of Debian have a few hundred.
const LONGEST: u64 = 64 << 10;

/// Copies the lines of a Contents index that [`providers`] could ever use.
///
/// # Errors
/// Those of `from` and `to`. Lines that are not of the format are left out.
pub fn reduce(from: &mut dyn BufRead, to: &mut dyn Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut *from).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let Ok(text) = std::str::from_utf8(&line) else { continue };
        let Some((path, packages)) = text.trim_end().rsplit_once([' ', '\t']) else { continue };
        let path = path.trim_end();
        if is_kept(path) {
            let names: Vec<&str> = packages.split(',').map(bare).collect();
            writeln!(to, "{path} {}", names.join(","))?;
        }
    }
}

/// `libdevel/zlib1g-dev` without its section.
fn bare(package: &str) -> &str {
    package.rsplit_once('/').map_or(package, |(_, name)| name)
}

/// Whether builds ask for files like this one.
fn is_kept(path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    if let Some(below) = path.strip_prefix("usr/include/") {
        return !below.is_empty();
    }
    if is_program_folder(folder) {
        return true;
    }
    match file.rsplit_once('.').map(|(_, end)| end) {
        Some("pc") => is_module_folder(folder),
        Some("cmake") => cmake_package(file).is_some(),
        Some("so" | "a") if file.starts_with("lib") => is_library_folder(folder),
        Some("pm") => perl_module(path).is_some(),
        _ => python_module(path).is_some() || python_project(path).is_some(),
    }
}

fn is_program_folder(folder: &str) -> bool {
    matches!(folder, "bin" | "sbin" | "usr/bin" | "usr/sbin" | "usr/games")
}

fn is_library_folder(folder: &str) -> bool {
    let below = folder.strip_prefix("usr/").unwrap_or(folder);
    below == "lib" || below.strip_prefix("lib/").is_some_and(is_triplet)
}

/// Where pkg-config looks by itself; other systems' libraries are elsewhere.
fn is_module_folder(folder: &str) -> bool {
    let parent = folder.strip_suffix("/pkgconfig");
    parent.is_some_and(|parent| parent == "usr/share" || is_library_folder(parent))
}

/// `x86_64-linux-gnu`
fn is_triplet(text: &str) -> bool {
    text.contains("-linux-gnu") && !text.contains('/')
}

/// The package that a file like `ZLIBConfig.cmake` or `zlib-config.cmake` is for. Modules like
/// `FindZLIB.cmake` only look for what others bring.
fn cmake_package(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".cmake")?;
    let name = stem.strip_suffix("Config").or_else(|| stem.strip_suffix("-config"));
    name.filter(|name| !name.is_empty())
}

/// The folders that Python modules lie in, and what is below.
fn below_python(path: &str) -> Option<&str> {
    let below = path.strip_prefix("usr/lib/python3")?;
    below.strip_prefix("/dist-packages/").or_else(|| {
        let (version, below) = below.strip_prefix('.')?.split_once('/')?;
        version.bytes().all(|byte| byte.is_ascii_digit()).then_some(below)
    })
}

/// The module that `usr/lib/python3/dist-packages/yaml/__init__.py` is the whole or the top of.
fn python_module(path: &str) -> Option<&str> {
    let below = below_python(path)?;
    match below.split_once('/') {
        Some((module, "__init__.py")) => Some(module),
        Some(_) => None,
        None => below
            .strip_suffix(".py")
            .or_else(|| below.strip_suffix(".so").and_then(|stem| stem.split('.').next())),
    }
    .filter(|module| !module.is_empty())
}

/// The project that `…/PyYAML-6.0.dist-info/METADATA` is of.
fn python_project(path: &str) -> Option<&str> {
    let (folder, file) = below_python(path)?.split_once('/')?;
    let stem = match file {
        "METADATA" => folder.strip_suffix(".dist-info"),
        "PKG-INFO" => folder.strip_suffix(".egg-info"),
        _ => None,
    }?;
    Some(stem.split_once('-').map_or(stem, |(name, _)| name))
}

/// The part of a path that Perl looks for.
fn perl_module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("usr/share/perl5/").or_else(|| {
        let (triplet, below) = path.strip_prefix("usr/lib/")?.split_once("/perl5/")?;
        // Below comes Perl's version.
        is_triplet(triplet).then(|| below.split_once('/').map(|(_, below)| below))?
    })?;
    below.ends_with(".pm").then_some(below)
}

/// A project's name as it is compared (Python's PEP 503).
fn normal(project: &str) -> String {
    let mut normal = String::new();
    for part in project.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_ascii_lowercase());
    }
    normal
}

/// The packages that have what is wanted, the most likely first, in the reduced indexes `kept`.
/// Where files match more or less well, only those that match best count.
pub fn providers(kept: &[String], wanted: &Wanted) -> Vec<Provider> {
    for wanted in meanings(wanted) {
        let mut best = u32::MAX;
        let mut found: Vec<Provider> = Vec::new();
        for (path, packages) in kept.iter().flat_map(|text| text.lines()).filter_map(split) {
            let Some(distance) = distance(path, &wanted) else { continue };
            if distance < best {
                best = distance;
                found.clear();
            }
            if distance == best {
                found.extend(packages.split(',').filter_map(|name| {
                    Some(Provider { package: name.parse().ok()?, path: path.to_owned() })
                }));
            }
        }
        if !found.is_empty() {
            let key = |one: &Provider| {
                let name = one.package.as_str();
                (name != wanted.name(), name.contains("-cross"), one.package.clone())
            };
            found.sort_by_key(key);
            found.dedup_by(|a, b| a.package == b.package);
            return found;
        }
    }
    Vec::new()
}

fn split(line: &str) -> Option<(&str, &str)> {
    line.rsplit_once(' ')
}

/// How something is looked for, one way after the other until one finds it: CMake has modules of
/// its own for what other packages bring without a word for CMake.
fn meanings(wanted: &Wanted) -> Vec<Wanted> {
    let Wanted::Cmake(name) = wanted else { return vec![wanted.clone()] };
    let lower = name.to_ascii_lowercase();
    let mut ways = vec![wanted.clone()];
    ways.extend(match lower.as_str() {
        "bzip2" => Some(Wanted::Header("bzlib.h".to_owned())),
        "freetype" => Some(Wanted::PkgConfig("freetype2".to_owned())),
        "gettext" => Some(Wanted::Program("msgfmt".to_owned())),
        "libxml2" => Some(Wanted::PkgConfig("libxml-2.0".to_owned())),
        "pkgconfig" => Some(Wanted::Program("pkg-config".to_owned())),
        _ => None,
    });
    ways.extend([name.clone(), lower.clone(), format!("lib{lower}")].map(Wanted::PkgConfig));
    ways.push(Wanted::Program(lower));
    ways
}

/// How far a file is from being what is wanted; none if it is something else.
fn distance(path: &str, wanted: &Wanted) -> Option<u32> {
    let (folder, file) = path.rsplit_once('/')?;
    let exactly = |yes: bool| yes.then_some(0);
    match wanted {
        Wanted::Header(name) => {
            let below = path.strip_prefix("usr/include/")?;
            let lead = below.strip_suffix(name.as_str())?;
            let lead = match lead.split_once('/') {
                Some((first, rest)) if is_triplet(first) => rest,
                _ => lead,
            };
            let parts = lead.split('/').filter(|part| !part.is_empty()).count();
            (lead.is_empty() || lead.ends_with('/')).then_some(u32::try_from(parts).ok()?)
        }
        Wanted::Library(name) => {
            let stem = file.strip_suffix(".so").or_else(|| file.strip_suffix(".a"))?;
            exactly(stem.strip_prefix("lib") == Some(name) && is_library_folder(folder))
        }
        Wanted::PkgConfig(name) => {
            exactly(file.strip_suffix(".pc") == Some(name) && is_module_folder(folder))
        }
        Wanted::Cmake(name) => {
            let here = folder.starts_with("usr/lib/") || folder.starts_with("usr/share/");
            exactly(here && cmake_package(file)?.eq_ignore_ascii_case(name))
        }
        Wanted::Program(name) => match name.strip_prefix('/') {
            Some(absolute) => exactly(path == absolute),
            None => exactly(file == name && is_program_folder(folder)),
        },
        Wanted::PythonModule(name) => {
            let top = name.split('.').next()?;
            exactly(python_module(path)? == top)
        }
        Wanted::PythonProject(name) => exactly(normal(python_project(path)?) == normal(name)),
        Wanted::PerlModule(name) => exactly(perl_module(path)? == name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "\
FILE                                          LOCATION
bin/sed                                       utils/sed
usr/bin/bison                                 devel/bison,devel/bison++
usr/include/x86_64-linux-gnu/curl/curl.h      libdevel/libcurl4-gnutls-dev,libdevel/libcurl4-openssl-dev
usr/include/node/zlib.h                       libdevel/libnode-dev
usr/include/zlib.h                            libdevel/zlib1g-dev
usr/include/libxml2/libxml/parser.h           libdevel/libxml2-dev
usr/include/notzlib.h                         libdevel/other-dev
usr/lib/x86_64-linux-gnu/libz.so              libdevel/zlib1g-dev
usr/lib/x86_64-linux-gnu/libz.so.1            libs/zlib1g
usr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc    libdevel/zlib1g-dev
usr/lib/x86_64-linux-gnu/pkgconfig/libpng.pc  libdevel/libpng-dev
usr/lib/x86_64-linux-gnu/cmake/fmt/fmt-config.cmake  libdevel/libfmt-dev
usr/lib/x86_64-linux-gnu/cmake/Qt5Core/Qt5CoreConfig.cmake  libdevel/qtbase5-dev
usr/share/cmake-3.25/Modules/FindZLIB.cmake   devel/cmake-data
usr/lib/x86_64-linux-gnu/cmake/vtk-9.1/FindZLIB.cmake  libdevel/libvtk9-dev
usr/x86_64-w64-mingw32/lib/pkgconfig/zlib.pc  libdevel/libz-mingw-w64-dev
usr/lib/python3/dist-packages/yaml/__init__.py   python/python3-yaml
usr/lib/python3/dist-packages/yaml/nodes.py   python/python3-yaml
usr/lib/python3/dist-packages/six.py          python/python3-six
usr/lib/python3/dist-packages/_cffi_backend.cpython-311-x86_64-linux-gnu.so python/python3-cffi-backend
usr/lib/python3/dist-packages/PyYAML-6.0.dist-info/METADATA python/python3-yaml
usr/lib/python3/dist-packages/ruamel.yaml.clib-0.2.7.egg-info/PKG-INFO python/python3-ruamel.yaml.clib
usr/lib/python3.11/distutils/__init__.py      python/python3-distutils
usr/share/perl5/Debian/Debhelper/Sequence/python3.pm python/dh-python
usr/share/doc/zlib.h                          doc/zlib-doc
usr/share/a file with spaces                  misc/spaces
";

    fn kept() -> Vec<String> {
        let mut kept = Vec::new();
        reduce(&mut INDEX.as_bytes(), &mut kept).unwrap();
        vec![String::from_utf8(kept).unwrap()]
    }

    #[test]
    fn keeps_only_what_builds_ask_for() {
        let text = kept().concat();
        for path in ["usr/share/doc", "libz.so.1", "spaces", "nodes.py", "LOCATION"] {
            assert!(!text.contains(path), "{path}: {text}");
        }
        assert_eq!(text.lines().count(), 19, "{text}");
    }

    #[test]
    fn finds_who_has_what_is_wanted() {
        let kept = kept();
        let check = |wanted: Wanted, expected: &[&str]| {
            let found = providers(&kept, &wanted);
            let names: Vec<_> = found.iter().map(|one| one.package.as_str()).collect();
            assert_eq!(names, expected, "{wanted:?}");
        };
        let text = str::to_owned;
        check(Wanted::Header(text("zlib.h")), &["zlib1g-dev"]);
        check(
            Wanted::Header(text("curl/curl.h")),
            &["libcurl4-gnutls-dev", "libcurl4-openssl-dev"],
        );
        check(Wanted::Header(text("libxml/parser.h")), &["libxml2-dev"]);
        check(Wanted::Header(text("absent.h")), &[]);
        check(Wanted::Library(text("z")), &["zlib1g-dev"]);
        check(Wanted::PkgConfig(text("zlib")), &["zlib1g-dev"]);
        check(Wanted::Cmake(text("fmt")), &["libfmt-dev"]);
        check(Wanted::Cmake(text("Qt5Core")), &["qtbase5-dev"]);
        check(Wanted::Cmake(text("ZLIB")), &["zlib1g-dev"]);
        check(Wanted::Cmake(text("PNG")), &["libpng-dev"]);
        check(Wanted::Cmake(text("BISON")), &["bison", "bison++"]);
        check(Wanted::Program(text("bison")), &["bison", "bison++"]);
        check(Wanted::Program(text("/bin/sed")), &["sed"]);
        check(Wanted::Program(text("/usr/bin/sed")), &[]);
        check(Wanted::PythonModule(text("yaml.nodes")), &["python3-yaml"]);
        check(Wanted::PythonModule(text("six")), &["python3-six"]);
        check(Wanted::PythonModule(text("_cffi_backend")), &["python3-cffi-backend"]);
        check(Wanted::PythonModule(text("distutils")), &["python3-distutils"]);
        check(Wanted::PythonProject(text("pyyaml")), &["python3-yaml"]);
        check(Wanted::PythonProject(text("ruamel_yaml-clib")), &["python3-ruamel.yaml.clib"]);
        check(Wanted::PerlModule(text("Debian/Debhelper/Sequence/python3.pm")), &["dh-python"]);
    }

    #[test]
    fn an_index_of_any_bytes_does_no_harm() {
        let mut kept = Vec::new();
        let long = [b"usr/include/".as_slice(), &[b'x'; 1 << 20], b" x/y\n"].concat();
        for bytes in [&b"\xff\xfe\n\n \n/ \nusr/include/ \n"[..], &long] {
            reduce(&mut &*bytes, &mut kept).unwrap();
        }
        let text = String::from_utf8(kept).unwrap();
        assert_eq!(providers(&[text], &Wanted::Header(String::new())), []);
    }
}
