//! The end of every publication: the staged generation is tried by a client, and switched to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter;
use std::sync::Arc;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::destination::Destination;
use crate::base::Architecture;
use crate::cli::arguments::Global;
use crate::cli::context::Release;
use crate::cli::failure::{Failure, Kind};
use crate::cli::key;
use crate::cli::output::Output;
use crate::cli::progress::reading;
use crate::cli::repo::broken;
use crate::cli::report::count;
use crate::publish::item::SOURCE;
use crate::publish::rehearse::{
    self, Candidate, Client, Extent, Progress, Refused, Rehearsal, Suite, Verdict,
};
use crate::publish::sign::Signers;
use crate::publish::stage::Staged;
use crate::publish::suite::INSTALLER;
use crate::publish::{Change, Generation, Repository};
use crate::realise::world::World;
use crate::spec::release::Rehearse;

/// What came of a publication.
pub struct Done {
    /// What clients read now.
    pub generation: Generation,
    /// What the rehearsal said; none if there was none.
    pub verdict: Option<Verdict>,
}

/// Who tries and switches.
pub struct Finale<'a> {
    /// What everything of the machine is done with.
    pub world: &'a World<'a>,
    /// The release that publishes.
    pub release: &'a Release,
    /// Where to.
    pub destination: &'a Destination<'a>,
    /// The repository.
    pub repository: &'a Repository,
    /// Who signs.
    pub signers: &'a Signers,
    /// How much is tried.
    pub rehearse: Rehearse,
}

impl Finale<'_> {
    /// Tries the staged generation, and gives it to clients if nothing is wrong with it.
    pub fn complete(
        &self,
        staged: Staged<'_>,
        global: &Global,
        output: &Output,
    ) -> Result<Done, Failure> {
        self.complete_with(&[], staged, global, output)
    }

    /// The same of a generation in which other suites are new too; each is tried with the keys of
    /// those who sign it.
    pub fn complete_with(
        &self,
        others: &[(&Destination<'_>, &Signers)],
        staged: Staged<'_>,
        global: &Global,
        output: &Output,
    ) -> Result<Done, Failure> {
        let mut verdict: Option<Verdict> = None;
        let all = iter::once((self.destination, self.signers)).chain(others.iter().copied());
        for (destination, signers) in all {
            let Some(extent) = self.extent() else { break };
            match self.rehearsed(&staged, (destination, signers), extent, global) {
                Ok(one) => verdict = Some(verdict.unwrap_or_default().and(one)),
                Err(failure) => {
                    staged.give_up().map_err(broken)?;
                    return Err(failure);
                }
            }
        }
        if let Some(verdict) = verdict.as_ref().filter(|verdict| !verdict.failures.is_empty()) {
            staged.give_up().map_err(broken)?;
            return Err(refused(verdict));
        }
        for unproven in verdict.iter().flat_map(|verdict| &verdict.unproven) {
            output.note(&format!("note: not tried: {unproven}: {}", unproven.why.join("; ")));
        }
        Ok(Done { generation: staged.switch().map_err(broken)?, verdict })
    }

    fn extent(&self) -> Option<Extent> {
        match self.rehearse {
            Rehearse::None => None,
            Rehearse::Update => Some(Extent::Update),
            Rehearse::Full => Some(Extent::Full),
        }
    }

    fn rehearsed(
        &self,
        staged: &Staged<'_>,
        (destination, signers): (&Destination<'_>, &Signers),
        extent: Extent,
        global: &Global,
    ) -> Result<Verdict, Failure> {
        let Self { world, release, repository, .. } = self;
        let spec = &release.spec.release;
        let generation = &staged.generation;
        let Some(root) = spec.roots.values().next() else {
            let message = "the release has no root that a client could be made of";
            return Err(Failure::input("no-root", message)
                .hint("`--rehearse none` publishes without trying anything"));
        };
        let archive = &spec.archives[&root.archive.value];
        let keys = key::public_file(release.folder.join(archive.keyring.value.as_str()))?.bytes;
        let state = &generation.suites[&destination.name];
        let beside = destination.suite.seen().into_iter().filter_map(|name| {
            let state = generation.suites.get(&name)?;
            Some((name, state.components.clone()))
        });
        // Clients have refused one that is dated later.
        let previous = repository
            .live()
            .and_then(|live| live.map(|live| repository.generation(live)).transpose())
            .map_err(broken)?
            .filter(|previous| previous.date < generation.date)
            .map(|previous| repository.generation_path(previous.number));
        let suites = [Suite {
            name: destination.name.clone(),
            components: state.components.clone(),
            beside: beside.collect(),
            candidates: candidates(&generation.changes, &destination.name)?,
        }];
        let folder = staged.folder();
        let public = signers.public();
        let rehearsal = Rehearsal {
            repository: repository.root(),
            staged: &folder,
            previous: previous.as_ref(),
            key: public.as_bytes(),
            suites: &suites,
            client: Client {
                archive: &root.archive.value,
                keys: &keys,
                architecture: client_architecture(&spec.architectures)?,
            },
            extent,
        };
        let bar = Arc::new(reading(global));
        let verdict = rehearse::rehearse(world, &rehearsal, &|progress| show(&bar, progress));
        bar.finish_and_clear();
        verdict.map_err(|error| {
            let kind = match &error {
                rehearse::Error::Cancelled => Kind::Interrupted,
                _ => Kind::Machine,
            };
            Failure::error(kind, "rehearsal", &error)
        })
    }
}

/// The architecture of the client: one of the release's that runs here.
fn client_architecture(all: &[Architecture]) -> Result<&Architecture, Failure> {
    all.iter().find(|one| crate::realise::machine::runs(one)).ok_or_else(|| {
        Failure::input("architecture", "this machine can run none of the release's architectures")
            .hint("`--rehearse none` publishes without trying anything")
    })
}

/// The binary packages that are new in a suite.
fn candidates(changes: &[Change], suite: &str) -> Result<Vec<Candidate>, Failure> {
    let wrong =
        |what: &str| Failure::new(Kind::Machine, "rehearsal", format!("`{what}` names no package"));
    let mut all: BTreeMap<_, Candidate> = BTreeMap::new();
    let is_tried = |change: &&Change| {
        change.suite == suite
            && change.architecture != SOURCE
            && !change.component.ends_with(INSTALLER)
    };
    for change in changes.iter().filter(is_tried) {
        let Some(version) = &change.new else { continue };
        let candidate = Candidate {
            name: change.name.parse().map_err(|_| wrong(&change.name))?,
            version: version.parse().map_err(|_| wrong(version))?,
            architecture: change.architecture.parse().map_err(|_| wrong(&change.architecture))?,
            old: change.old.as_ref().and_then(|old| old.parse().ok()),
        };
        let key = (change.name.clone(), change.architecture.clone());
        // A suite that was taken over tells of older versions too.
        if all.get(&key).is_none_or(|known| known.version < candidate.version) {
            all.insert(key, candidate);
        }
    }
    Ok(all.into_values().collect())
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    let (message, done, total) = match progress {
        Progress::Root { step, done, total } => (format!("client: {step}"), done, total),
        Progress::Update(suite) => (format!("apt update of {suite}"), 0, 1),
        Progress::Fetch { done, total } => ("packages of the archive".to_owned(), done, total),
        Progress::Package { name, done, total } => (format!("tried {name}"), done, total),
    };
    bar.set_length(total as u64);
    bar.set_position(done as u64);
    bar.set_message(message);
}

/// How many lines of a log are shown.
const LINES: usize = 8;

/// Why nothing was switched.
fn refused(verdict: &Verdict) -> Failure {
    let failures = verdict.failures.iter().map(|one| {
        let mut message = one.to_string();
        for why in &one.why {
            let _ = write!(message, "\n  {why}");
        }
        if one.why.is_empty() {
            let lines: Vec<&str> = one.log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                let _ = write!(message, "\n  {line}");
            }
        }
        Failure::new(Kind::Result, "rehearsal", message)
    });
    let all = failures.reduce(Failure::and).expect("something that failed");
    all.hint("clients read what they read before: nothing was switched")
}

/// What was tried, in a line.
pub fn line(verdict: Option<&Verdict>) -> String {
    let Some(Verdict { installed, upgraded, elsewhere, .. }) = verdict else {
        return "not rehearsed\n".to_owned();
    };
    if *installed == 0 && *upgraded == 0 {
        return "rehearsed: a client accepts it\n".to_owned();
    }
    let mut text = format!("rehearsed: {} installed and removed", count(*installed, "package"));
    if *upgraded > 0 {
        let _ = write!(text, ", {upgraded} upgraded");
    }
    if *elsewhere > 0 {
        let _ = write!(text, ", {elsewhere} of other architectures not tried");
    }
    text.push('\n');
    text
}

/// What was tried, for programs.
pub fn document(verdict: Option<&Verdict>) -> Value {
    let Some(Verdict { installed, upgraded, elsewhere, unproven, .. }) = verdict else {
        return Value::Null;
    };
    let refused = |one: &Refused| json!({ "what": one.to_string(), "why": one.why });
    json!({
        "installed": installed,
        "upgraded": upgraded,
        "elsewhere": elsewhere,
        "unproven": unproven.iter().map(refused).collect::<Vec<_>>(),
    })
}
