//! The documentation of the words, in Markdown.

/// The fields of a package.
pub const FIELDS: &[(&str, &str)] = &[
    ("name", "Name of the source package, and of its binary package where only one is made."),
    (
        "version",
        "Upstream version, in quotes so that every digit is kept: `\"1.10\"`. Of a source with \
         packaging of its own: what that must say.",
    ),
    ("revision", "Distribution revision, the part behind the last `-`: `\"1\"`."),
    (
        "suffix",
        "Appended to the version of a package that was changed here: `\"+demo1\"`. Needs `changes`.",
    ),
    (
        "changes",
        "Changelog entry: `#{ date: \"2026-11-22\", text: \"…\" }`. Its date is also the time \
         that built files carry.",
    ),
    ("summary", "One line of description, without a full stop."),
    ("description", "The description below the summary."),
    ("homepage", "Where the project lives: `\"https://…\"`."),
    ("license", "SPDX expression: `\"MIT OR Apache-2.0\"`."),
    ("section", "Archive section: `\"utils\"`, `\"libs\"`."),
    ("maintainer", "`\"Name <address>\"`; the release's by default."),
    (
        "source",
        "What is built: a folder of the release, `dir(\"src/greet\")`; a source package of the \
         pinned archive, `archive(\"xz-utils\")`; `git(url, rev)`; `tarball(url)`.",
    ),
    (
        "extra",
        "More sources, by the path in the source folder that each is put at: \
         `#{ \"vendor/zlib\": tarball(\"https://…\") }`.",
    ),
    (
        "date",
        "The time that built files carry, `\"2026-11-22\"`, where neither a changelog nor a \
         commit tells one.",
    ),
    ("patches", "Patches of the release, `\"patches/greet/fix.patch\"`, applied in this order."),
    ("root", "Name of the `[root.NAME]` it is built in; the only one by default."),
    ("architectures", "Those it is built for; all of the release's by default."),
    (
        "build_depends",
        "Build dependencies in the distribution's own syntax, one or more per string: \
         `\"libxml2-dev (>= 2.9)\"`, `\"check <!nocheck>\"`. They are added to those of the \
         source's own packaging. A name that this release builds comes from this release.",
    ),
    ("build", "How it is built: `autotools()`, `cmake()`, `debian()`, `script(#\"…\"#)`, …"),
    ("env", "Environment of the build: `#{ NAME: \"value\" }`."),
    (
        "binaries",
        "Binary packages, where packaging is generated: a list of maps with `name`, `files`, …; \
         one of the package's own name by default.",
    ),
    (
        "from_seed",
        "Names that this package's build root takes from the archive although the release builds \
         them: breaks a cycle, and is counted in the closure certificate.",
    ),
    ("without_tests", "Why the tests do not run. They do unless there is a reason."),
    ("resources", "What the build may use: `#{ memory: \"4 GiB\", time: \"2h\", cores: 4 }`."),
];

/// A key of a map that some field holds: name, value, documentation.
pub type Part = (&'static str, &'static str, &'static str);

/// The keys of the maps that fields hold.
pub const PARTS: &[(&str, &[Part])] = &[
    (
        "changes",
        &[
            ("date", "a string", "The day, `\"2026-11-22\"`, or an RFC 3339 time."),
            ("text", "a string", "What changed."),
            (
                "author",
                "a string",
                "Who signs it, `\"Name <address>\"`; the maintainer by default.",
            ),
        ],
    ),
    (
        "binaries",
        &[
            ("name", "a string", "Name of the binary package."),
            ("architecture", "a string", "`\"any\"` (by default) or `\"all\"`."),
            ("section", "a string", "Archive section; the package's by default."),
            ("multi_arch", "a string", "`\"same\"`, `\"foreign\"` or `\"allowed\"`."),
            (
                "depends",
                "a list of strings",
                "Dependencies, beside those that the distribution's tools find.",
            ),
            ("pre_depends", "a list of strings", "What must work before it is unpacked."),
            ("recommends", "a list of strings", "What all but unusual installations want."),
            ("suggests", "a list of strings", "What may be useful beside it."),
            ("enhances", "a list of strings", "What it may be useful beside."),
            ("breaks", "a list of strings", "What does not work while it is installed."),
            ("conflicts", "a list of strings", "What cannot be installed beside it."),
            ("replaces", "a list of strings", "Whose files it may take over."),
            ("provides", "a list of strings", "Virtual packages."),
            ("summary", "a string", "One line of description; the package's by default."),
            ("description", "a string", "The description below the summary."),
            ("optional", "a list of strings", "Patterns as in `files` that may match nothing."),
            (
                "files",
                "a list of strings",
                "Patterns of installed files that belong to it. What matches none goes to the \
                 first binary package.",
            ),
        ],
    ),
    (
        "resources",
        &[
            ("memory", "an amount", "Bytes of memory: `\"2 GiB\"`."),
            ("time", "an amount", "Time in all: `\"2h\"`."),
            ("silence", "an amount", "Time without a line of output: `\"30m\"`."),
            ("cores", "an integer", "Processor cores."),
            ("scratch", "an amount", "Bytes of scratch space: `\"20 GiB\"`."),
        ],
    ),
    (
        "recipe",
        &[
            (
                "packaging",
                "a string or a source",
                "Whose `debian/` folder counts: `\"own\"`, `\"generated\"`, or that of a source.",
            ),
            ("needs", "a list of strings", "Build dependencies that this way of building needs."),
            (
                "files",
                "a map of strings",
                "Files put into the source folder before the build, by path there.",
            ),
            ("script", "a string", "The shell script that builds, run with `sh -e`."),
            (
                "script_any",
                "a string",
                "The same for the release's other architectures, where the packages of no \
                 architecture are left out: `dpkg-buildpackage -B`.",
            ),
            (
                "depends",
                "a list of strings",
                "Dependencies of the binary packages that this way of building brings along.",
            ),
            (
                "architecture",
                "a string",
                "Of binary packages that do not say: `\"any\"` (by default) or `\"all\"`.",
            ),
            ("outputs", "a list of strings", "Patterns of the files it leaves: `\"*.deb\"`."),
        ],
    ),
];

/// The functions that are part of the program: how they are called, and what they give.
pub const NATIVES: &[(&str, &str)] = &[
    (
        "package(fields)",
        "A package: `package(#{ name: \"…\", source: dir(\"…\"), build: debian() })`.",
    ),
    (
        "rebuild(names)",
        "The pinned archive's source package of this name, or of each name of a list, built again.",
    ),
    (
        "prev(name)",
        "The package of this name in the layers below, to be changed: \
         `prev(\"xz-utils\").add(#{ patches: [\"…\"] })`.",
    ),
    (
        "dir(path)",
        "A folder of the release as a source. It is hashed whenever a spec is evaluated.",
    ),
    ("archive(name)", "A source package of the pinned archive as a source."),
    (
        "git(url, rev)",
        "A branch, tag or commit of a git repository as a source. `lock` pins its commit. What it \
         pinned can be asked: `.tag`, `.commits`, `.commit`, `.date`, `.log`.",
    ),
    (
        "tarball(url, hash)",
        "An archive file as a source, unpacked; a list of URLs names several places for it. \
         `lock` pins its SHA-256, which may be given instead. `{name}` and `{version}` stand for \
         the package's.",
    ),
    ("file(path, hash)", "One file, of the release or of a URL, as it is: for `extra`."),
    (
        "recipe(fields)",
        "A way of building, for functions of `lib/`: `needs`, `files`, `script`, `outputs`.",
    ),
    (
        "options(given, defaults)",
        "The defaults with what was given in their place. A key that has no default is a mistake, \
         and so is a value of another kind.",
    ),
    (
        "captures(text, regex)",
        "What the groups of a regular expression match, the whole match first; `()` where it does \
         not match.",
    ),
    ("parse_int(text)", "The integer that a text is."),
    ("join(items, between)", "The items as one text, with another text between them."),
    ("trim(text)", "The text without white space at its ends."),
    ("sort(items)", "The items in order."),
    ("dedent(text)", "The text without the white space that all its lines begin with."),
    ("kind_of(value)", "What a value is, in words: `a string`, `a list`, `a package`."),
];

/// What stands behind a `.`.
pub const METHODS: &[(&str, &str)] = &[
    ("with(fields)", "The package with these fields in place of what they were."),
    ("add(fields)", "The package with more in its lists and maps: `.add(#{ patches: [\"…\"] })`."),
    (
        "on(architecture, fields)",
        "The package with other fields on one architecture: `.on(\"arm64\", #{ env: #{ … } })`.",
    ),
    ("tag", "Of a git source: the nearest tag before its commit, or of it."),
    ("commits", "Of a git source: how many commits lie between that tag and its commit."),
    ("commit", "Of a git source: the commit it is pinned to."),
    ("date", "Of a git source: when that commit was made."),
    ("log", "Of a git source: the last commits, the newest first."),
];
