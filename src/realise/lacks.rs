//! What a failed build lacked, as the messages of its tools say.

use crate::archive::deb::contents::Wanted;

/// How many different things are told.
const MOST: usize = 3;

/// How many of a log's last lines are read: configure scripts print their own logs at the end.
const LINES: usize = 2000;

/// Longest name that is believed to be one, in bytes.
const LONGEST: usize = 200;

/// The files, modules and programs that a build did not find, the first one first; at most three.
///
/// Compilers, linkers, shells, make, pkg-config, autoconf, CMake, Meson, Python and Perl are
/// understood. What a configure script merely tries does not count.
pub fn lacks(log: &str) -> Vec<Wanted> {
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let mut found = Vec::new();
    for line in last {
        if is_trial(line) {
            continue;
        }
        for wanted in lacked(line) {
            if is_name(wanted.name()) && !found.contains(&wanted) {
                found.push(wanted);
            }
        }
        if found.len() >= MOST {
            break;
        }
    }
    found.truncate(MOST);
    found
}

/// Whether the line only tells of something that was tried and may be missing.
fn is_trial(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("-- ")
        || line.starts_with("| ")
        || line.contains("conftest")
        || line.contains("CheckSymbolExists")
        || line.contains("CMakeTmp")
        || line.contains("/meson-private/")
        || line.contains("testfile.c")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"`'\"<>|;&$()*?\\".contains(&byte))
        && !name.split('/').any(|part| part == "..")
        && name.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// What one line says is missing.
fn lacked(line: &str) -> Vec<Wanted> {
    // The order matters: what says more comes first.
    let one = compiler(line)
        .or_else(|| linker(line))
        .or_else(|| python(line))
        .or_else(|| perl(line))
        .or_else(|| cmake(line))
        .or_else(|| meson(line))
        .or_else(|| pkg_config(line))
        .or_else(|| program(line));
    match one {
        Some(one) => vec![one],
        None => requirements(line),
    }
}

/// `x.c:3:10: fatal error: zlib.h: No such file or directory` (gcc), `fatal error: 'zlib.h' file
/// not found` (clang).
fn compiler(line: &str) -> Option<Wanted> {
    let (_, said) = line.split_once("fatal error: ")?;
    let name = said
        .strip_suffix(": No such file or directory")
        .or_else(|| said.strip_prefix('\'')?.strip_suffix("' file not found"))?;
    Some(Wanted::Header(name.to_owned()))
}

/// `/usr/bin/ld: cannot find -lz: No such file or directory`
fn linker(line: &str) -> Option<Wanted> {
    let (_, said) = line.split_once("cannot find -l")?;
    Some(Wanted::Library(said.split([':', ' ']).next()?.to_owned()))
}

/// `ModuleNotFoundError: No module named 'yaml'`, and how a build's front end says it.
fn python(line: &str) -> Option<Wanted> {
    if let Some((error, said)) = line.split_once("No module named ") {
        let is_error = error.contains("ModuleNotFoundError") || error.contains("ImportError");
        let is_interpreter = error.ends_with("python3: ") || error.ends_with("python: ");
        let name = said.trim_matches(['\'', '"', ' ']);
        return (is_error || is_interpreter).then(|| Wanted::PythonModule(name.to_owned()));
    }
    let (_, said) = line.split_once("DistributionNotFound: The '")?;
    let name = said.split(['\'', '>', '<', '=', '!', '~', ';', '[', ' ']).next()?;
    Some(Wanted::PythonProject(name.to_owned()))
}

/// `Can't locate Foo/Bar.pm in @INC`
fn perl(line: &str) -> Option<Wanted> {
    let (_, said) = line.split_once("Can't locate ")?;
    let name = said.split(' ').next()?;
    name.ends_with(".pm").then(|| Wanted::PerlModule(name.to_owned()))
}

/// `Could NOT find ZLIB (missing: ZLIB_LIBRARY)`, `Could not find a package configuration file
/// provided by "fmt"`.
fn cmake(line: &str) -> Option<Wanted> {
    if let Some((_, said)) = line.split_once("Could NOT find ") {
        return Some(Wanted::Cmake(word(said)?.to_owned()));
    }
    if let Some((_, said)) =
        line.split_once("Could not find a package configuration file provided by \"")
    {
        return Some(Wanted::Cmake(said.split('"').next()?.to_owned()));
    }
    let (_, said) = line.split_once("None of the required '")?;
    Some(Wanted::PkgConfig(word(said.split('\'').next()?)?.to_owned()))
}

/// `meson.build:3:0: ERROR: Dependency "zlib" not found, tried pkgconfig and cmake`,
/// `ERROR: Program 'bison' not found or not executable`.
fn meson(line: &str) -> Option<Wanted> {
    let (_, said) = line.split_once("ERROR: ")?;
    let quoted = || said.split(['\'', '"']).nth(1).map(str::to_owned);
    if said.starts_with("Dependency lookup for ") {
        return Some(Wanted::PkgConfig(word(said.strip_prefix("Dependency lookup for ")?)?.into()));
    }
    if !said.contains(" not found") {
        return None;
    }
    if said.starts_with("Dependency ") {
        return quoted().map(Wanted::PkgConfig);
    }
    if said.starts_with("Program ") {
        return quoted().map(|name| Wanted::Program(name.split(' ').next().unwrap_or("").into()));
    }
    let library = said.contains(" shared or static library ");
    library.then(|| quoted().map(Wanted::Library))?
}

/// What pkg-config itself says, in its old and its new wording.
fn pkg_config(line: &str) -> Option<Wanted> {
    if let Some((_, said)) = line.split_once("No package '") {
        let (name, rest) = said.split_once('\'')?;
        return rest.starts_with(" found").then(|| Wanted::PkgConfig(name.to_owned()));
    }
    if let Some((name, _)) = line
        .split_once("Package ")
        .and_then(|(_, said)| said.split_once(" was not found in the pkg-config search path"))
    {
        return Some(Wanted::PkgConfig(name.trim_matches('\'').to_owned()));
    }
    if line.contains("The pkg-config script could not be found") {
        return Some(Wanted::Program("pkg-config".to_owned()));
    }
    let (name, rest) = line.split_once("Package '")?.1.split_once('\'')?;
    rest.contains("not found").then(|| Wanted::PkgConfig(name.to_owned()))
}

/// `/bin/sh: 1: bison: not found`, `make: bison: No such file or directory`, `bash: line 3: bison:
/// command not found`, `/usr/bin/env: 'bison': No such file or directory`.
fn program(line: &str) -> Option<Wanted> {
    let (said, by_make) = match line.strip_suffix(": not found") {
        Some(said) => (said, false),
        None => match line.strip_suffix(": command not found") {
            Some(said) => (said, false),
            None => (line.strip_suffix(": No such file or directory")?, true),
        },
    };
    let (teller, name) = said.rsplit_once(": ")?;
    let is_make = teller.starts_with("make") || teller.ends_with("/env") || teller == "env";
    let is_shell = teller.contains("sh") || teller.rsplit(' ').next()?.parse::<u32>().is_ok();
    let name = name.trim_matches(['\'', '‘', '’']);
    // What is called by a path of its own is a file of the source.
    let is_of_source = name.contains('/') && !name.starts_with("/usr/bin/");
    let told = if by_make { is_make } else { is_shell };
    (told && !is_of_source && !name.contains(' ')).then(|| Wanted::Program(name.to_owned()))
}

/// `configure: error: Package requirements (zlib >= 1.2 libpng) were not met`
fn requirements(line: &str) -> Vec<Wanted> {
    let Some((_, said)) = line.split_once("Package requirements (") else { return Vec::new() };
    let Some((list, _)) = said.split_once(") were not met") else { return Vec::new() };
    let mut words = list.split([' ', ',']).filter(|word| !word.is_empty());
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if word.starts_with(['<', '>', '=', '!']) {
            // The version that is compared with.
            words.next();
        } else {
            found.push(Wanted::PkgConfig(word.to_owned()));
        }
    }
    found
}

/// The first word, without punctuation behind it.
fn word(text: &str) -> Option<&str> {
    text.split_whitespace().next().map(|word| word.trim_end_matches([',', '.', ':', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expected: &[Wanted]) {
        assert_eq!(lacks(log), expected, "{log}");
    }

    #[test]
    fn messages_of_many_tools_are_understood() {
        let text = str::to_owned;
        let header = |name: &str| [Wanted::Header(text(name))];
        check("main.c:1:10: fatal error: zlib.h: No such file or directory", &header("zlib.h"));
        check("main.c:1:10: fatal error: 'curl/curl.h' file not found", &header("curl/curl.h"));
        let library = [Wanted::Library(text("z"))];
        check("/usr/bin/ld: cannot find -lz: No such file or directory", &library);
        check("/usr/bin/ld: cannot find -lz", &library);
        let module = [Wanted::PkgConfig(text("libxml-2.0"))];
        for line in [
            "No package 'libxml-2.0' found",
            "Package libxml-2.0 was not found in the pkg-config search path.",
            "Package 'libxml-2.0', required by 'virtual:world', not found",
            "meson.build:2:0: ERROR: Dependency \"libxml-2.0\" not found, tried pkgconfig and cmake",
            "../meson.build:2:6: ERROR: Dependency lookup for libxml-2.0 with method 'pkgconfig' \
             failed: Pkg-config binary for machine 1 not found. Giving up.",
            "configure: error: Package requirements (libxml-2.0 >= 2.9) were not met:",
            "  None of the required 'libxml-2.0' found",
        ] {
            check(line, &module);
        }
        let cmake = |name: &str| [Wanted::Cmake(text(name))];
        check("  Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)", &cmake("ZLIB"));
        check(
            "  Could not find a package configuration file provided by \"fmt\" with any of",
            &cmake("fmt"),
        );
        let program = [Wanted::Program(text("bison"))];
        for line in [
            "/bin/sh: 1: bison: not found",
            "sh: 1: bison: not found",
            "./configure: 2345: bison: not found",
            "bash: line 1: bison: command not found",
            "make[1]: bison: No such file or directory",
            "/usr/bin/env: 'bison': No such file or directory",
            "/usr/bin/env: ‘bison’: No such file or directory",
            "meson.build:4:0: ERROR: Program 'bison' not found or not executable",
        ] {
            check(line, &program);
        }
        let python = [Wanted::PythonModule(text("setuptools_scm"))];
        check("ModuleNotFoundError: No module named 'setuptools_scm'", &python);
        check("/usr/bin/python3: No module named setuptools_scm", &python);
        check(
            "pkg_resources.DistributionNotFound: The 'pbr>=2.0' distribution was not found",
            &[Wanted::PythonProject(text("pbr"))],
        );
        check(
            "Can't locate Debian/Debhelper/Sequence/python3.pm in @INC (you may need to install",
            &[Wanted::PerlModule(text("Debian/Debhelper/Sequence/python3.pm"))],
        );
    }

    #[test]
    fn what_is_only_tried_or_of_the_source_itself_is_no_lack() {
        for line in [
            "conftest.c:10:10: fatal error: minix/config.h: No such file or directory",
            "| conftest.c:10:10: fatal error: x.h: No such file or directory",
            "-- Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)",
            "make: ./autogen.sh: No such file or directory",
            "/bin/sh: 1: ./tests/run: not found",
            "cat: data.txt: No such file or directory",
            "checking for bison... not found",
            "Program doxygen found: NO",
            "fatal error: \u{1b}[31m.h: No such file or directory",
            "fatal error: ../../etc/passwd: No such file or directory",
        ] {
            check(line, &[]);
        }
    }

    #[test]
    fn the_first_three_are_told_once_each() {
        let lines = ["a.h", "b.h", "a.h", "c.h", "d.h"]
            .map(|name| format!("x.c:1:1: fatal error: {name}: No such file or directory"));
        let names = ["a.h", "b.h", "c.h"].map(|name| Wanted::Header(name.to_owned()));
        check(&lines.join("\n"), &names);
        check(
            "Package requirements (zlib >= 1.2, libpng) were not met",
            &["zlib", "libpng"].map(|name| Wanted::PkgConfig(name.to_owned())),
        );
    }
}
