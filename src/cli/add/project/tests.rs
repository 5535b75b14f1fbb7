use std::collections::BTreeMap;

use super::*;

/// What a source of these files says.
fn project(called: &str, files: &[(&str, &str)]) -> Project {
    let files: BTreeMap<String, String> =
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let paths = files.keys().cloned().collect();
    let read = |path: &str| files.get(path).cloned();
    Project::of(&Files { paths, read: Box::new(read) }, called)
}

/// `name version license, build` and each need; what is guessed has a `?`.
#[track_caller]
fn check(called: &str, files: &[(&str, &str)], expected: &str) {
    let project = project(called, files);
    let mark = |sure| if sure == Sure::Guessed { "?" } else { "" };
    let part = |found: &Option<Found>| match found {
        Some(found) => format!("{}{}", found.value, mark(found.sure)),
        None => "-".to_owned(),
    };
    let mut words = vec![part(&project.name), part(&project.version), part(&project.license)];
    words.push(match &project.build {
        Some(build) => format!("{:?}", build.value),
        None => "-".to_owned(),
    });
    for need in &project.needs {
        words.push(format!("{:?}{}", need.wanted, mark(need.sure)));
    }
    assert_eq!(words.join("\n"), expected);
}

const MIT: &str = "Permission is hereby granted, free of charge, to any person obtaining a copy";

#[test]
fn a_meson_project_says_what_it_is_and_needs() {
    let text = "# project('not', this)\nproject('greet', 'c',\n  version : '1.2.0',\n  \
                license: ['MIT', 'Zlib'], default_options: ['warning_level=2'])\n\
                zlib = dependency('zlib', version: '>=1.2')\n\
                png = dependency('libpng', required: get_option('png'))\n\
                threads = dependency('threads')\nbison = find_program('bison')\n";
    check(
        "somewhere",
        &[("meson.build", text)],
        "greet\n1.2.0\nMIT AND Zlib\nMeson\nPkgConfig(\"zlib\")\nProgram(\"pkg-config\")\n\
         PkgConfig(\"libpng\")?\nProgram(\"bison\")",
    );
}

#[test]
fn a_cmake_project_says_what_it_is_and_needs() {
    let text = "cmake_minimum_required(VERSION 3.10)\nproject(Greet VERSION 2.0 DESCRIPTION \
                \"Says hello. Twice.\" HOMEPAGE_URL \"https://greet.example\" LANGUAGES C)\n\
                find_package(ZLIB REQUIRED)\nfind_package(Doxygen)\nfind_package(Threads)\n\
                find_package(PkgConfig REQUIRED)\npkg_check_modules(PNG REQUIRED libpng>=1.6)\n";
    let files = [("CMakeLists.txt", text), ("LICENSE", MIT)];
    check(
        "x",
        &files,
        "Greet\n2.0\nMIT?\nCmake\nCmake(\"ZLIB\")\nCmake(\"Doxygen\")?\n\
         Program(\"pkg-config\")\nPkgConfig(\"libpng\")",
    );
    let project = project("x", &files);
    assert_eq!(project.summary.unwrap().value, "Says hello");
    assert_eq!(project.homepage.unwrap().value, "https://greet.example");
}

#[test]
fn an_autotools_project_says_what_it_is_and_needs() {
    let text = "dnl AC_INIT([old])\nAC_INIT([greet], [1.4.1], [bugs@greet.example])\nAC_PROG_CC\n\
                PKG_CHECK_MODULES([XML], [libxml-2.0 >= 2.9 libxslt])\n\
                PKG_CHECK_MODULES([PNG], [libpng], [have=yes], [have=no])\nAC_PROG_YACC\n";
    let code = "#include <stdio.h>\n#include <zlib.h>\n#ifdef _WIN32\n#include <windows.h>\n\
                #endif\n#include <greet.h>\n";
    check(
        "x",
        &[("configure.ac", text), ("src/main.c", code), ("src/greet.h", "")],
        "greet\n1.4.1\n-\nAutotools\nPkgConfig(\"libxml-2.0\")\nPkgConfig(\"libxslt\")\n\
         Program(\"pkg-config\")\nPkgConfig(\"libpng\")?\nProgram(\"bison\")\n\
         Header(\"stdio.h\")?\nHeader(\"zlib.h\")?",
    );
    // What macros make is not known; the archive's name is.
    let text = "AC_INIT([m4_esyscmd([./name])], [my_version])\n";
    check("greet-2.5", &[("configure.ac", text)], "greet?\n2.5?\n-\nAutotools");
    let text = "PACKAGE_TARNAME='greet'\nPACKAGE_VERSION='3.1'\n";
    check("x", &[("configure", text)], "greet\n3.1\n-\nAutotools");
}

#[test]
fn python_projects_say_what_they_are_and_need() {
    let text = "[build-system]\nrequires = [\"flit_core >=3.2\"]\nbuild-backend = \
                \"flit_core.buildapi\"\n[project]\nname = \"greet\"\nversion = \"1.0\"\n\
                description = \"Greets\"\nlicense = {text = \"BSD-3-Clause\"}\ndependencies = \
                [\"PyYAML>=5\", \"pywin32; sys_platform == 'win32'\"]\n[project.scripts]\n\
                greet = \"greet:main\"\n";
    check(
        "x",
        &[("pyproject.toml", text)],
        "greet\n1.0\nBSD-3-Clause\nPython { backend: \"flit\", compiled: false }\n\
         PythonProject(\"PyYAML\")",
    );
    let text = "from setuptools import setup, Extension\nsetup(\n    name='greet',\n    \
                version=\"0.9\",\n    license='Apache 2.0',\n    install_requires=['six',\n     \
                'requests[socks]>=2'],\n    ext_modules=[Extension('g', ['g.c'])])\n";
    check(
        "x",
        &[("setup.py", text), ("g.c", "")],
        "greet\n0.9\nApache-2.0\nPython { backend: \"setuptools\", compiled: true }\n\
         PythonProject(\"six\")\nPythonProject(\"requests\")",
    );
    let config = "[metadata]\nname = greet\nversion = attr: greet.__version__\nlicense = MIT\n\
                  [options]\ninstall_requires =\n    six>=1\n    yaml\n";
    let files = [
        ("setup.py", "from setuptools import setup\nsetup()\n"),
        ("setup.cfg", config),
        ("greet/__init__.py", "__version__ = '4.2'\n"),
    ];
    check(
        "x",
        &files,
        "greet\n4.2?\nMIT\nPython { backend: \"setuptools\", compiled: false }\n\
         PythonProject(\"six\")\nPythonProject(\"yaml\")",
    );
    // A project that only keeps its tools' settings there is no Python project.
    check("x", &[("pyproject.toml", "[tool.black]\n")], "x?\n-\n-\n-");
}

#[test]
fn a_makefile_is_the_last_resort_and_packaging_the_first() {
    let text = "VERSION := 1.1\nCFLAGS += $(shell pkg-config --cflags zlib)\nall:\n\tcc\n";
    check(
        "greet",
        &[("Makefile", text), ("COPYING", "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007")],
        "greet?\n1.1\nGPL-3.0-only?\nMake\nPkgConfig(\"zlib\")\nProgram(\"pkg-config\")",
    );
    let files = [
        ("Makefile", text),
        ("debian/changelog", ""),
        ("debian/control", "Source: hello\n"),
        ("debian/rules", ""),
    ];
    check("x", &files, "hello\n-\n-\nDebian");
    check("x-1.0", &[("README", "")], "x?\n1.0?\n-\n-");
}

#[test]
fn licences_are_known_by_their_texts_or_by_what_files_say() {
    let check = |files: &[(&str, &str)], expected: Option<&str>| {
        let found = project("x", files).license;
        assert_eq!(found.as_ref().map(|found| found.value.as_str()), expected, "{files:?}");
    };
    check(&[("LICENSE.md", MIT)], Some("MIT"));
    check(&[("COPYING", "GNU LESSER GENERAL PUBLIC LICENSE Version 2.1")], Some("LGPL-2.1-only"));
    check(&[("LICENSE", "Apache License\n  Version 2.0, January 2004")], Some("Apache-2.0"));
    let bsd = "Redistribution and use in source and binary forms";
    check(&[("LICENSE", bsd)], Some("BSD-2-Clause"));
    let three = format!("{bsd} … Neither the name of");
    check(&[("LICENSE", &three)], Some("BSD-3-Clause"));
    check(&[("LICENSE", "All rights reserved. Ask us.")], None);
    let gpl = ("COPYING", "GNU GENERAL PUBLIC LICENSE Version 2, June 1991");
    check(&[gpl], Some("GPL-2.0-only"));
    // The text is the same for both: the files say which.
    let marked = ("a.c", "/* SPDX-License-Identifier: GPL-2.0-or-later */\n");
    check(&[gpl, marked], Some("GPL-2.0-or-later"));
    check(
        &[("LICENSE-MIT", MIT), ("LICENSE-APACHE", "Apache License Version 2.0")],
        Some("Apache-2.0 OR MIT"),
    );
    check(&[("LICENSES/ISC.txt", "")], Some("ISC"));
}

#[test]
fn a_summary_is_a_sentence_of_the_readme() {
    let text = "# Greet\n\n[![badge](x)](y)\n\nA friendly `greeter` for terminals. It says \
                hello.\n";
    let found = project("x", &[("README.md", text)]).summary.unwrap();
    assert_eq!(found.value, "A friendly greeter for terminals");
    let long = format!("Greets {}\n", "again and ".repeat(20));
    let found = project("x", &[("README", &long)]).summary.unwrap();
    assert!(found.value.chars().count() <= 80 && !found.value.ends_with(' '), "{}", found.value);
}

#[test]
fn no_text_makes_it_fail() {
    for text in
        ["", "(", "project(", "project('", "AC_INIT([", "=\n'", "[", "\u{fffd}", "#include <"]
    {
        for path in [
            "meson.build",
            "CMakeLists.txt",
            "configure.ac",
            "configure",
            "setup.py",
            "setup.cfg",
            "pyproject.toml",
            "Makefile",
            "a.c",
            "README",
            "LICENSE",
            "requirements.txt",
        ] {
            project("x", &[(path, text), ("setup.py", ""), ("Makefile", text)]);
            project("x", &[(path, text)]);
        }
    }
}
