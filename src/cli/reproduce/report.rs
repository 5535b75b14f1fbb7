//! What came of building again: the table, what differs, the document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::audit::attribution::{Alone, Attribution, Finding};
use crate::audit::reproduction::{Compared, Reproduction};
use crate::base::{DerivationId, Digest};
use crate::cli::address::command;
use crate::cli::context::Release;
use crate::cli::failure::{Failure, Kind, Problem, Told};
use crate::cli::progress::duration;
use crate::cli::report::{count, kind_of};
use crate::graph::Graph;
use crate::graph::derivation::Package;
use crate::realise::cause::plain;
use crate::realise::event::{Failure as Stopped, Fault};
use crate::store::Sameness;

/// How many differences of one file are shown; the rest is kept.
const SHOWN: usize = 8;

/// How many files are shown with their differences.
const FILES: usize = 5;

/// How many lines of a failed build's log are shown.
const TAIL: usize = 20;

/// What came of a package.
pub enum Proved {
    /// It was built again.
    Again {
        /// What that came to.
        found: Box<Reproduction>,
        /// The name of its document.
        document: Digest,
        /// Why it failed, if it did.
        failure: Option<Box<Stopped>>,
    },
    /// It could not be built even once; without a reason of its own if what it needs could not.
    Unbuilt(Option<Box<Stopped>>),
}

impl Proved {
    fn verdict(&self) -> Sameness {
        match self {
            Self::Again { found, .. } => found.sameness(),
            Self::Unbuilt(_) => Sameness::Failed,
        }
    }

    fn failure(&self) -> Option<&Stopped> {
        match self {
            Self::Again { failure, .. } | Self::Unbuilt(failure) => failure.as_deref(),
        }
    }
}

/// Everything there is to tell.
pub struct Report<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its graph.
    pub graph: &'a Graph,
    /// What was to be built again.
    pub wanted: &'a [DerivationId],
    /// What came of each; what was called off is not there.
    pub proved: &'a BTreeMap<DerivationId, Proved>,
    /// Where that stays.
    pub stay: Stay,
}

/// Whether what was found can be looked at later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// It is in the user's store.
    Kept,
    /// It was in a temporary store.
    Gone,
}

impl Report<'_> {
    /// A line for every package.
    pub fn table(&self) -> String {
        let titles: Vec<String> = self.packages().map(|(_, package, _)| title(package)).collect();
        let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for ((_, _, proved), title) in self.packages().zip(&titles) {
            let (word, took, detail) = match proved {
                None => ("cancelled", String::new(), String::new()),
                Some(Proved::Unbuilt(None)) => {
                    ("failed", String::new(), "what it needs could not be built".to_owned())
                }
                Some(proved @ Proved::Unbuilt(Some(failure))) => {
                    (proved.verdict().as_str(), String::new(), first_line(failure))
                }
                Some(proved @ Proved::Again { found, failure, .. }) => {
                    let took = Duration::from_millis(found.elapsed.unsigned_abs());
                    let detail = failure.as_deref().map_or_else(|| files(found), first_line);
                    (proved.verdict().as_str(), duration(took), detail)
                }
            };
            let line = format!(" {title:width$}   {word:10} {took:>8}   {detail}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// Why packages failed, with the ends of their logs.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for (_, package, proved) in self.packages() {
            let Some(failure) = proved.and_then(Proved::failure) else { continue };
            if failure.fault == Fault::Cancelled {
                continue;
            }
            let _ = writeln!(text, "failed    {} · {}", title(package), first_line(failure));
            for reason in &failure.reasons {
                let _ = writeln!(text, "          because: {reason}");
            }
            if let Some(hint) = failure.hint {
                let _ = writeln!(text, "          help: {hint}");
            }
            for line in &failure.tail[failure.tail.len().saturating_sub(TAIL)..] {
                let _ = writeln!(text, "            {line}");
            }
        }
        text
    }

    /// What differs, the first of it.
    pub fn differences(&self) -> String {
        let mut text = String::new();
        for (_, package, proved) in self.packages() {
            let Some(Proved::Again { found, .. }) = proved else { continue };
            if found.sameness() != Sameness::Differs {
                if let Some(attribution) = &found.attribution {
                    let _ = writeln!(text, "varied    {}", title(package));
                    text.push_str(&attributed(attribution, 0));
                }
                continue;
            }
            let _ = writeln!(text, "differs   {}", title(package));
            let other: Vec<&Compared> =
                found.outputs.iter().filter(|one| one.verdict != "reproduced").collect();
            for one in other.iter().take(FILES) {
                text.push_str(&compared(one, SHOWN));
            }
            if other.len() > FILES {
                let _ = writeln!(text, "          … and {} more files", other.len() - FILES);
            }
            if let Some(attribution) = &found.attribution {
                text.push_str(&attributed(attribution, FILES));
            }
            if self.stay == Stay::Kept {
                let all = command("reproduce", &self.release.folder, package.name.as_str());
                let _ = writeln!(text, "          all of it: {all} --show");
            }
        }
        text
    }

    /// How many came to what.
    pub fn closing(&self) -> String {
        let of = |verdict: Sameness| {
            self.proved.values().filter(|proved| proved.verdict() == verdict).count()
        };
        let counts = [Sameness::Failed, Sameness::Differs, Sameness::Reproduced]
            .map(|verdict| (of(verdict), verdict.as_str()));
        let called_off = (self.wanted.len() - self.proved.len(), "cancelled");
        let told = counts.into_iter().chain([called_off]).filter(|(count, _)| *count > 0);
        let told: Vec<String> = told.map(|(count, word)| format!("{count} {word}")).collect();
        format!("{}\n", told.join(", "))
    }

    /// What the command ends with; people were told of it.
    pub fn failure(&self) -> Option<Failure> {
        let mut problems = Vec::new();
        let mut kind = None;
        for (_, package, proved) in self.packages() {
            let Some(proved) = proved else {
                kind = kind.max(Some(Kind::Interrupted));
                continue;
            };
            let (code, message) = match proved.verdict() {
                Sameness::Reproduced => continue,
                Sameness::Differs => ("differs", "came out otherwise".to_owned()),
                Sameness::Failed => {
                    let failure = proved.failure();
                    kind = kind.max(failure.map(|failure| kind_of(failure.fault)));
                    ("failed", failure.map_or_else(|| "could not be built".to_owned(), first_line))
                }
            };
            kind = kind.max(Some(Kind::Result));
            let messages = vec![format!("{}: {message}", title(package))];
            problems.push(Problem::Chain {
                code,
                messages,
                hints: Vec::new(),
                told: Told::Already,
            });
        }
        kind.map(|kind| Failure { kind, problems })
    }

    /// The same as a document.
    pub fn document(&self) -> Value {
        let packages = self.packages().filter_map(|(id, package, proved)| {
            let proved = proved?;
            let mut document = json!({
                "name": package.name.as_str(),
                "version": package.version,
                "derivation": id.to_string(),
                "verdict": proved.verdict().as_str(),
                "outputs": [],
            });
            if let Proved::Again { found, document: name, .. } = proved {
                if let Some(attribution) = &found.attribution {
                    document["attribution"] = serde_json::to_value(attribution).unwrap_or_default();
                }
                let whole = serde_json::to_value(found).unwrap_or_default();
                document["outputs"] = whole["outputs"].clone();
                document["action"] = found.action.to_string().into();
                document["document"] = name.to_string().into();
            }
            if let Some(failure) = proved.failure() {
                document["cause"] = failure.line().into();
            }
            Some(document)
        });
        json!({
            "release": self.release.document(self.graph),
            "packages": packages.collect::<Vec<_>>(),
        })
    }

    fn packages(&self) -> impl Iterator<Item = (DerivationId, &Package, Option<&Proved>)> {
        self.graph
            .packages()
            .filter(|(node, _)| self.wanted.contains(&node.id))
            .map(|(node, package)| (node.id, package, self.proved.get(&node.id)))
    }
}

/// What varying came to: the first `most` places of each cause, and what was not varied.
pub fn attributed(attribution: &Attribution, most: usize) -> String {
    let mut text = String::new();
    let mut causes: BTreeMap<(String, Alone), Vec<&Finding>> = BTreeMap::new();
    for finding in &attribution.findings {
        causes.entry((finding.causes.join(" + "), finding.alone)).or_default().push(finding);
    }
    for ((names, alone), findings) in causes {
        let names = match alone {
            Alone::Each => names.replace(" + ", ", "),
            Alone::Together => format!("only together: {names}"),
        };
        let _ = writeln!(text, "          because of {names}");
        for finding in findings.iter().take(most) {
            let place = match finding.file.as_str() {
                "" => "its build fails".to_owned(),
                file => [&[file.to_owned()], finding.at.as_slice()].concat().join(": "),
            };
            let _ = writeln!(text, "            {}", plain(&place, 200));
        }
        if findings.len() > most {
            let _ = writeln!(text, "            … and {} more places", findings.len() - most);
        }
    }
    let varied: Vec<&str> = attribution.varied.iter().map(|one| one.name.as_str()).collect();
    let builds = count(attribution.builds as usize, "build");
    let _ = writeln!(text, "          varied      {} ({builds})", varied.join(", "));
    for one in &attribution.not_varied {
        let _ = writeln!(text, "          not varied  {}: {}", one.name, one.text);
    }
    text
}

/// What became of a file, and the first `most` things that differ.
pub fn compared(one: &Compared, most: usize) -> String {
    let mut text = format!("          {}  ", one.file);
    match (&one.difference, &one.old) {
        (Some(difference), _) => {
            let told = difference.text(most);
            let mut lines = told.lines();
            let _ = writeln!(text, "{}", lines.next().unwrap_or_default());
            for line in lines {
                let _ = writeln!(text, "            {line}");
            }
        }
        (None, Some(_)) => text.push_str("did not come out again\n"),
        (None, None) => text.push_str("came besides\n"),
    }
    text
}

fn title(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

fn files(found: &Reproduction) -> String {
    let all = found.outputs.len();
    match found.outputs.iter().filter(|one| one.verdict != "reproduced").count() {
        0 => count(all, "file"),
        other => format!("{other} of {}", count(all, "file")),
    }
}

fn first_line(failure: &Stopped) -> String {
    failure.line().lines().next().unwrap_or_default().to_owned()
}
