//! Why there is no build root, line by line.

use std::collections::BTreeSet;

use super::problem::{Id, Problem, Reason, Wanted};
use super::search::Defeat;
use crate::archive::deb::dependency::{Alternatives, Relation};

/// The most lines an explanation has.
const LINES: usize = 40;

/// The lines that lead from the request to the impossibility.
pub(super) fn because(problem: &Problem<'_>, defeat: &Defeat) -> Vec<String> {
    let Defeat::Proven(nogood) = *defeat else {
        return vec!["the search was given up: too many packages exclude each other".to_owned()];
    };
    let mut told = Told { problem, lines: Vec::new(), seen: BTreeSet::new() };
    told.nogoods(nogood);
    let mut lines = told.lines;
    if lines.len() > LINES {
        lines.truncate(LINES);
        lines.push("… and so on".to_owned());
    }
    lines
}

struct Told<'p, 'a> {
    problem: &'p Problem<'a>,
    lines: Vec<String>,
    seen: BTreeSet<usize>,
}

/// What is to be told next.
enum Next {
    Nogood(usize),
    Line(String),
}

impl Told<'_, '_> {
    /// Tells a nogood and all that it follows from, each once. An explicit stack: a chain of
    /// packages may be as long as the archive.
    fn nogoods(&mut self, first: usize) {
        let mut stack = vec![Next::Nogood(first)];
        while let Some(next) = stack.pop()
            && self.lines.len() <= LINES
        {
            let nogood = match next {
                Next::Line(line) => {
                    self.tell(line);
                    continue;
                }
                Next::Nogood(nogood) => nogood,
            };
            if !self.seen.insert(nogood) {
                continue;
            }
            match &self.problem.nogoods[nogood].reason {
                Reason::Declared { by, field, relation, against } => {
                    self.declared(*by, field, relation, *against);
                }
                Reason::Exhausted { choice, options } => {
                    self.needs(*choice);
                    for (option, nogood) in options.iter().rev() {
                        stack.push(Next::Nogood(*nogood));
                        if options.len() > 1 {
                            let line = format!("{} would do, but", self.title(*option));
                            stack.push(Next::Line(line));
                        }
                    }
                }
            }
        }
    }

    fn declared(&mut self, by: Option<Id>, field: &str, relation: &Relation, against: Id) {
        let against = self.title(against);
        let line = match by {
            None => format!("{against} must not be there ({field}: {relation})"),
            Some(by) => format!("{} excludes {against} ({field}: {relation})", self.title(by)),
        };
        self.tell(line);
    }

    fn needs(&mut self, choice: usize) {
        let choice = &self.problem.choices[choice];
        let owner = choice.owner.map(|owner| self.title(owner));
        let line = match (&choice.wanted, owner) {
            (Wanted::Essential(name), _) => format!("`{name}` is essential"),
            (Wanted::Package(name), _) => format!("`{name}` is asked for"),
            (Wanted::Relation(_, wanted), None) => format!("`{wanted}` is asked for"),
            (Wanted::Relation(field, wanted), Some(owner)) => {
                format!("{owner} needs `{wanted}` ({field})")
            }
            (Wanted::Readable(error), owner) => {
                format!("{} cannot be read: {error}", owner.unwrap_or_default())
            }
        };
        self.tell(line);
        match &choice.wanted {
            Wanted::Relation(_, wanted) if choice.options.iter().all(Vec::is_empty) => {
                self.missing(wanted);
            }
            Wanted::Package(name) if choice.options.iter().all(Vec::is_empty) => {
                self.unknown(name.as_str());
            }
            _ => {}
        }
    }

    /// Why nothing at all satisfies these alternatives.
    fn missing(&mut self, wanted: &Alternatives) {
        let architecture = &self.problem.request.architecture;
        for relation in &wanted.0 {
            let name = relation.name.as_str();
            let candidate = self.problem.universe.candidate(name, architecture);
            let bare = Relation { version: None, ..relation.clone() };
            let providers = self.problem.universe.meant(&bare, architecture);
            match candidate {
                Some(package) if !relation.accepts(&package.version) => {
                    self.tell(format!("`{name}` is there as {} only", package.version));
                }
                Some(package) => self.tell(format!(
                    "`{name}` {} is not for this qualifier (Multi-Arch: {:?})",
                    package.version, package.multi_arch
                )),
                None if !providers.is_empty() => {
                    let names: Vec<_> =
                        providers.iter().map(|package| format!("`{}`", package.name)).collect();
                    self.tell(format!("`{name}` is provided by {}, but not so", names.join(", ")));
                }
                None => self.unknown(name),
            }
        }
    }

    fn unknown(&mut self, name: &str) {
        let hint = match self.problem.universe.nearest(name) {
            Some(near) => format!(" (there is `{near}`)"),
            None => String::new(),
        };
        self.tell(format!("no package is or provides `{name}`{hint}"));
    }

    fn tell(&mut self, line: String) {
        if self.lines.last() != Some(&line) {
            self.lines.push(line);
        }
    }

    fn title(&self, id: Id) -> String {
        let package = self.problem.package(id);
        format!("`{}` {}", package.name, package.version)
    }
}
