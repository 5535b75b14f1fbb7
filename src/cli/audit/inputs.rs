//! `audit inputs`: build dependencies that were never used, and uses that are not declared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Asked, unread};
use crate::audit::inputs::{By, Inputs, Undeclared, Unused, judge};
use crate::base::DerivationId;
use crate::cli::address::{command, shown};
use crate::cli::arguments::Global;
use crate::cli::build::default_options;
use crate::cli::changes::wrapped;
use crate::cli::failure::Failure;
use crate::cli::hint;
use crate::cli::output::{CommandResult, Output};
use crate::cli::report::count;
use crate::graph::derivation::Package;
use crate::graph::{Origin, PackageOrigin};
use crate::realise::driver;
use crate::realise::trace::{self, Extent, Found, Outputs};

/// How wide a line may get.
const WIDTH: usize = 100;
/// How far what is told of a finding is moved in.
const INDENT: usize = 14;
/// How many files of a package are told of.
const FILES: usize = 3;

/// Says of each package that was named, or of all, what its traced build shows.
pub fn run(words: &[String], global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure: Failure| (Value::Null, failure);
    // What is there is read, and nothing else.
    let global = Global { offline: true, ..global.clone() };
    let asked = Asked::new(words, &global).map_err(wrong)?;
    let packages = asked.judged().map_err(wrong)?;
    let Asked { release, graph, .. } = &asked;
    let spec = &release.spec.release;
    output.text(&format!("{} {} · {}\n", spec.name, spec.version, graph.release().short()));
    for package in &packages {
        output.text(&package.text(&asked));
    }
    let documents: Vec<Value> = packages.iter().map(|package| package.document(&asked)).collect();
    Ok(json!({ "release": release.document(graph), "packages": documents }))
}

/// A package, and what is known of its inputs.
struct Judged<'a> {
    id: DerivationId,
    package: &'a Package,
    origin: &'a PackageOrigin,
    known: Known,
}

enum Known {
    /// It is not built as the release is now.
    Unbuilt,
    /// No build of it was traced.
    Untraced,
    Traced(Found, Inputs),
}

impl Asked {
    fn judged(&self) -> Result<Vec<Judged<'_>>, Failure> {
        let Self { graph, wanted, machine, .. } = self;
        let world = machine.world();
        let survey = driver::survey(&world, graph, wanted, &default_options());
        let mut judged = Vec::new();
        for one in survey.map_err(|error| unread(&error))? {
            let node = graph.node(one.derivation).filter(|node| wanted.contains(&node.id));
            let Some(node) = node else { continue };
            let (Some(package), Origin::Package(origin)) =
                (node.derivation.package(), &node.origin)
            else {
                continue;
            };
            let found = one.there.as_ref().map(|(_, record)| trace::find(world.store, record));
            let known = match found.transpose().map_err(|error| unread(&error))? {
                None => Known::Unbuilt,
                Some(None) => Known::Untraced,
                Some(Some(found)) => {
                    let inputs = judge(&found.trace);
                    Known::Traced(found, inputs)
                }
            };
            judged.push(Judged { id: node.id, package, origin, known });
        }
        Ok(judged)
    }
}

impl Judged<'_> {
    fn text(&self, asked: &Asked) -> String {
        let Package { name, version, .. } = self.package;
        let mut text = format!("\n{name} {version}   ");
        let (found, inputs) = match &self.known {
            Known::Traced(found, inputs) => (found, inputs),
            Known::Unbuilt | Known::Untraced => {
                let what = match self.known {
                    Known::Unbuilt => "not built",
                    _ => "not traced",
                };
                let _ = writeln!(text, "{what}: `{}`", self.tracing(asked));
                return text;
            }
        };
        let read = found.trace.packages.iter().filter(|package| !package.files.is_empty());
        let (read, all) = (read.clone().count(), found.trace.packages.len());
        let files: usize = found.trace.packages.iter().map(|package| package.files.len()).sum();
        let _ = writeln!(text, "read {} of {read} of {all} packages", count(files, "file"));
        let mut tell = |word: &str, lines: &[String]| {
            for (number, line) in lines.iter().enumerate() {
                for (row, part) in wrapped(line, WIDTH - INDENT).into_iter().enumerate() {
                    let lead = if number + row == 0 { word } else { "" };
                    let _ = writeln!(text, "  {lead:width$}{part}", width = INDENT - 2);
                }
            }
        };
        if found.trace.extent == Extent::Cut {
            let told = "it opened files faster than could be noted: some may be missing here";
            tell("incomplete", &[told.to_owned()]);
        }
        if found.outputs == Outputs::Different {
            let told = "the build that was traced came out otherwise than the one that counts";
            tell("differs", &[told.to_owned()]);
        }
        for unused in &inputs.unused {
            let remedy = self.remedy(asked, unused);
            tell("unused", &[unused_lines(unused), vec![remedy]].concat());
        }
        let (own, perhaps): (Vec<_>, Vec<_>) =
            inputs.undeclared.iter().partition(|one| one.by == By::Itself);
        for undeclared in own {
            let addition = self.addition(asked, undeclared);
            tell("undeclared", &[undeclared_lines(undeclared), vec![addition]].concat());
        }
        let lines = perhaps_lines(&perhaps);
        tell("perhaps", &lines);
        if inputs.unused.is_empty() && inputs.undeclared.is_empty() {
            tell("as declared", &["all that it declares was used, and nothing else".to_owned()]);
        }
        text
    }

    /// What gives it a trace.
    fn tracing(&self, asked: &Asked) -> String {
        command("build --trace", &asked.release.folder, self.package.name.as_str())
    }

    /// What to do about an unused dependency: where it is declared.
    fn remedy(&self, asked: &Asked, unused: &Unused) -> String {
        let says = |depends: &crate::archive::deb::dependency::Dependencies| {
            depends.0.iter().any(|one| one.to_string() == unused.dependency)
        };
        let wanted = self.origin.wanted.iter().find(|wanted| says(&wanted.depends));
        if let Some(span) = wanted.and_then(|wanted| wanted.span.as_ref()) {
            let control = span.file.as_str().ends_with("/debian/control");
            let field = if control { "Build-Depends" } else { "build_depends" };
            let file = shown(&asked.release.folder.join(span.file.as_str()));
            return format!("remove it from {field} ({file}:{})", span.line);
        }
        let spec = asked.release.spec.packages.iter();
        let spec = spec.into_iter().find(|package| package.name == self.package.name);
        let needs = spec.map_or(&[][..], |package| &package.build.needs);
        match wanted.is_some_and(|wanted| needs.contains(&wanted.text)) {
            true => "its builder asks for it, whatever it builds",
            false => "the source's own packaging asks for it, not the spec",
        }
        .to_owned()
    }

    /// What to do about an undeclared use.
    fn addition(&self, asked: &Asked, undeclared: &Undeclared) -> String {
        let (field, place) = hint::place(&asked.release, &self.package.name, self.origin);
        format!("add `{}` to {field} ({place})", undeclared.package)
    }

    fn document(&self, asked: &Asked) -> Value {
        let Package { name, version, .. } = self.package;
        let mut document = json!({
            "name": name.as_str(),
            "version": version,
            "derivation": self.id.to_string(),
        });
        let (found, inputs) = match &self.known {
            Known::Unbuilt => {
                document["status"] = "unbuilt".into();
                return document;
            }
            Known::Untraced => {
                document["status"] = "untraced".into();
                return document;
            }
            Known::Traced(found, inputs) => (found, inputs),
        };
        let unused = inputs.unused.iter().map(|unused| {
            json!({
                "dependency": unused.dependency,
                "shared": unused.shared,
                "links": unused.links,
                "remedy": self.remedy(asked, unused),
            })
        });
        let undeclared = inputs.undeclared.iter().map(|undeclared| {
            json!({
                "package": undeclared.package,
                "version": undeclared.version,
                "files": undeclared.files,
                "through": undeclared.through,
                "sure": undeclared.by == By::Itself,
                "remedy": self.addition(asked, undeclared),
            })
        });
        let read = found.trace.packages.iter().map(|package| {
            json!({
                "name": package.name,
                "version": package.version,
                "architecture": package.architecture,
                "files": package.files.len(),
            })
        });
        document["status"] = "traced".into();
        document["whole"] = (found.trace.extent == Extent::Whole).into();
        document["same_outputs"] = (found.outputs == Outputs::Identical).into();
        document["read"] = read.collect();
        document["unused"] = unused.collect();
        document["undeclared"] = undeclared.collect();
        document
    }
}

fn unused_lines(unused: &Unused) -> Vec<String> {
    let Unused { dependency, shared, links } = unused;
    let nothing = format!("`{dependency}`: no file of it was read, nor of what only it brings");
    let shared = shared.iter().map(|(name, others)| {
        let verb = if others.len() == 1 { "brings" } else { "bring" };
        format!("`{name}` was, which {} {verb} as well", quoted(others))
    });
    let links =
        links.first().map(|link| format!("whether its link {link} was used cannot be told"));
    [nothing].into_iter().chain(shared).chain(links).collect()
}

fn undeclared_lines(undeclared: &Undeclared) -> Vec<String> {
    let Undeclared { package, files, through, .. } = undeclared;
    let first: Vec<&str> = files.iter().take(FILES).map(String::as_str).collect();
    let more = match files.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if through.len() == 1 { "leads" } else { "lead" };
    vec![
        format!("`{package}`: {}{more}", first.join(", ")),
        format!("it is only there because {} {verb} to it", quoted(through)),
    ]
}

/// Uses that may be those of the packages in between, by what leads to them.
fn perhaps_lines(perhaps: &[&Undeclared]) -> Vec<String> {
    let mut groups: BTreeMap<&BTreeSet<String>, Vec<&str>> = BTreeMap::new();
    for one in perhaps {
        groups.entry(&one.through).or_default().push(&one.package);
    }
    let line = |(through, packages): (&BTreeSet<String>, Vec<&str>)| {
        let packages: Vec<String> = packages.iter().map(|name| format!("`{name}`")).collect();
        let (these, may) = (packages.join(", "), quoted(through));
        format!("{these}: there because of {may}, which may be all that used them")
    };
    groups.into_iter().map(line).collect()
}

fn quoted(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
