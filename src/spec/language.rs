//! The words of the language with their documentation, for tools that help to write specs.
//!
//! Which fields and functions there are is what evaluation says; only their documentation is here.

use super::api;
use super::stdlib;
use super::syntax::{Kind, Token, tokens};

/// A key that a map may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What its value is: `a list of strings`.
    pub value: &'static str,
    /// Documentation in Markdown; empty where there is none.
    pub doc: &'static str,
}

/// A function that specs may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// How it is called: `script(text)`.
    pub signature: String,
    /// Documentation in Markdown; empty where there is none.
    pub doc: String,
    /// Where its name is in the text that defines it, in bytes; 0 for one of the program's own.
    pub at: usize,
}

/// The fields of a package, as evaluation knows them.
pub fn fields() -> Vec<Field> {
    let doc = |name| FIELDS.iter().find(|(known, _)| *known == name).map_or("", |(_, doc)| doc);
    api::field::fields().map(|(name, value)| Field { name, value, doc: doc(name) }).collect()
}

/// The keys of a map that a field's value is, or has in its list; none for other fields.
pub fn parts(field: &str) -> Vec<Field> {
    let (_, parts) = PARTS.iter().find(|(known, _)| *known == field).unwrap_or(&("", &[]));
    parts.iter().map(|(name, value, doc)| Field { name, value, doc }).collect()
}

/// The functions that are part of the program.
pub fn natives() -> Vec<Function> {
    NATIVES.iter().map(native).collect()
}

/// What packages and sources can be asked or changed by: `package.with(…)`.
pub fn methods() -> Vec<Function> {
    METHODS.iter().map(native).collect()
}

fn native((signature, doc): &(&str, &str)) -> Function {
    let name = signature.split('(').next().unwrap_or_default().to_owned();
    Function { name, signature: (*signature).to_owned(), doc: (*doc).to_owned(), at: 0 }
}

/// The stdlib's modules and what each defines, as this program brings them.
pub fn stdlib() -> impl Iterator<Item = (&'static str, Vec<Function>)> {
    stdlib::MODULES.iter().map(|(module, text)| (*module, functions(text)))
}

/// The functions that a module's text defines for others. The comment right above one is its
/// documentation; above the first of a file, the comment the file begins with counts where it has
/// none of its own.
pub fn functions(text: &str) -> Vec<Function> {
    let tokens = tokens(text);
    let top = comment_after(text, &tokens, 0);
    let mut found: Vec<Function> = Vec::new();
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 && token.text(text) == "fn" => {
                let before = tokens[..index].iter().rposition(|token| !token.is_trivia());
                let private = before.is_some_and(|at| tokens[at].text(text) == "private");
                if let (false, Some(mut function)) = (private, function(text, &tokens, index)) {
                    if function.doc.is_empty() && found.is_empty() {
                        function.doc.clone_from(&top);
                    }
                    found.push(function);
                }
            }
            _ => {}
        }
    }
    found
}

/// The function whose `fn` is the token at `index`.
fn function(text: &str, tokens: &[Token], index: usize) -> Option<Function> {
    let mut rest = tokens[index + 1..].iter().filter(|token| !token.is_trivia());
    let name = rest.next().filter(|token| token.kind == Kind::Word)?;
    let mut signature = name.text(text).to_owned();
    for token in rest.take(200) {
        match token.text(text) {
            "{" => break,
            "," => signature.push_str(", "),
            other => signature.push_str(other),
        }
    }
    Some(Function {
        name: name.text(text).to_owned(),
        signature,
        doc: comment_before(text, tokens, index),
        at: name.start,
    })
}

/// The lines of comment right above a token.
fn comment_before(text: &str, tokens: &[Token], index: usize) -> String {
    let mut lines = Vec::new();
    for token in tokens[..index].iter().rev() {
        match token.kind {
            Kind::Comment => lines.push(comment_line(token.text(text))),
            Kind::Space if token.text(text).matches('\n').count() <= 1 => {}
            _ => break,
        }
    }
    lines.reverse();
    lines.join("\n").trim().to_owned()
}

/// The lines of comment from a token on, up to the first empty line.
fn comment_after(text: &str, tokens: &[Token], index: usize) -> String {
    let mut lines = Vec::new();
    for token in &tokens[index..] {
        match token.kind {
            Kind::Comment => lines.push(comment_line(token.text(text))),
            Kind::Space if token.text(text).matches('\n').count() <= 1 => {}
            _ => break,
        }
    }
    lines.join("\n").trim().to_owned()
}

fn comment_line(comment: &str) -> &str {
    let line = comment.trim_start_matches('/');
    line.strip_prefix(' ').unwrap_or(line).trim_end()
}

const FIELDS: &[(&str, &str)] = &[
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
        "What is built: a folder of the release, `dir(\"src/greet\")`, or a source package of \
         the pinned archive, `archive(\"xz-utils\")`.",
    ),
    ("extra", "More sources, by the path in the source folder that each is put at."),
    ("date", "The time that built files carry, where nothing else tells one: `\"2026-11-22\"`."),
    ("patches", "Patch files of the release, applied in this order."),
    ("root", "Name of the `[root.NAME]` it is built in; the only one by default."),
    ("architectures", "Those it is built for; all of the release's by default."),
    (
        "build_depends",
        "Build dependencies in the distribution's own syntax, one or more per string: \
         `\"libxml2-dev (>= 2.9)\"`, `\"check <!nocheck>\"`. They are added to those of the \
         source's own packaging. A name that this release builds comes from this release.",
    ),
    ("build", "How it is built: `debian()`, `script(#\"…\"#)`."),
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

/// Keys of the maps that some fields hold: name, value, documentation.
type Part = (&'static str, &'static str, &'static str);

const PARTS: &[(&str, &[Part])] = &[
    (
        "changes",
        &[
            ("date", "a string", "The day, `\"2026-11-22\"`, or an RFC 3339 time."),
            ("text", "a string", "What changed."),
        ],
    ),
    (
        "binaries",
        &[
            ("name", "a string", "Name of the binary package."),
            ("architecture", "a string", "`\"any\"` (by default) or `\"all\"`."),
            (
                "depends",
                "a list of strings",
                "Dependencies, beside those that the distribution's tools find.",
            ),
            ("provides", "a list of strings", "Virtual packages."),
            ("summary", "a string", "One line of description; the package's by default."),
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
                "a string",
                "Whose `debian/` folder counts: `\"own\"` or `\"generated\"`.",
            ),
            ("needs", "a list of strings", "Build dependencies that this way of building needs."),
            ("files", "a map of strings", "Files put into the source folder before the build."),
            ("script", "a string", "The shell script that builds, run with `sh -e`."),
            (
                "script_any",
                "a string",
                "The same for the release's other architectures, where the packages of no \
                 architecture are left out: `dpkg-buildpackage -B`.",
            ),
            ("outputs", "a list of strings", "Patterns of the files it leaves: `\"*.deb\"`."),
        ],
    ),
];

const NATIVES: &[(&str, &str)] = &[
    (
        "package(fields)",
        "A package: `package(#{ name: \"…\", source: dir(\"…\"), build: debian() })`.",
    ),
    (
        "rebuild(names)",
        "The pinned archive's source package of this name, or of each name of a list, built again.",
    ),
    (
        "dir(path)",
        "A folder of the release as a source. It is hashed whenever a spec is evaluated.",
    ),
    ("prev(name)", "The package of that name in the layer below: what an overlay changes."),
    ("archive(name)", "A source package of the pinned archive as a source."),
    (
        "recipe(fields)",
        "A way of building, for functions of `lib/`: `needs`, `files`, `script`, `outputs`.",
    ),
    ("dedent(text)", "The text without the white space that all its lines begin with."),
    ("kind_of(value)", "What a value is, in words: `a string`, `a list`, `a package`."),
];

const METHODS: &[(&str, &str)] = &[
    ("with(fields)", "The package with these fields in place of what they were."),
    (
        "on(architecture, fields)",
        "The package with these fields in place of what they were, on one architecture only.",
    ),
    ("add(fields)", "The package with more in its lists and maps: `.add(#{ patches: [\"…\"] })`."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_language_is_documented() {
        for field in fields() {
            assert!(!field.doc.is_empty(), "the field `{}` has no documentation", field.name);
        }
        let stdlib: Vec<_> = stdlib().collect();
        for (module, functions) in &stdlib {
            for function in functions {
                assert!(!function.doc.is_empty(), "`{module}`: no comment above {function:?}");
            }
        }
        let known: Vec<String> = natives()
            .into_iter()
            .chain(stdlib.into_iter().flat_map(|(_, functions)| functions))
            .map(|function| function.name)
            .collect();
        for name in api::NAMES.iter().filter(|name| **name != "release") {
            assert!(known.iter().any(|known| known == name), "`{name}` has no documentation");
        }
    }

    #[test]
    fn functions_come_with_the_comment_above_them() {
        let text = "// Of the file.\n\n// Says\n// it.\nfn a(x,y) { fn_() }\n\nprivate fn b() {}\n\n\
                    // Not this.\n\nfn c() {}\n";
        let found = functions(text);
        let told: Vec<_> =
            found.iter().map(|it| (it.signature.as_str(), it.doc.as_str())).collect();
        assert_eq!(told, [("a(x, y)", "Says\nit."), ("c()", "")]);
        assert_eq!(&text[found[0].at..found[0].at + 4], "a(x,");
        assert_eq!(functions("// Of the file.\n\nfn a() {}")[0].doc, "Of the file.");
        assert_eq!(functions("fn"), []);
    }
}
