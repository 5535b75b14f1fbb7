//! `lock` and `update`: what a release is pinned to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::arguments::{Global, Lock, Update};
use super::bump::BumpPlan;
use super::cascade::Cascade;
use super::context::{Release, client, mirrors, named_one, open_store};
use super::failure::{Failure, Kind};
use super::interrupt::cancel_on_interrupt;
use super::output::{CommandResult, Output};
use crate::base::{Digest, HostPath};
use crate::fetch;
use crate::pin::{self, Change, Locked, Moves, Pin};
use crate::spec::lock::FILE;
use crate::spec::stdlib;
use crate::store::Event;

/// Pins what is not pinned yet, or only says whether anything is not.
pub fn lock(arguments: &Lock, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let (folder, names) = named_one(&arguments.words.words).map_err(wrong)?;
    if let Some(name) = names.first() {
        return Err(wrong(
            Failure::input("unexpected", format!("`lock` takes a release folder, not `{name}`"))
                .hint("`perestroika update NAME` moves one pin"),
        ));
    }
    if arguments.check {
        return check(&folder, output);
    }
    let release = Release::load(&folder).map_err(wrong)?;
    let locked = pin(&release, global, output).map_err(wrong)?;
    Ok(tell(&locked, None, None, output, "nothing to pin: release.lock is as it should be"))
}

/// Pins what is not pinned yet, and writes that down.
pub fn pin(release: &Release, global: &Global, output: &Output) -> Result<Locked, Failure> {
    let locked = make(release, Moves::Nothing, global, output)?;
    write(release, &locked, global)?;
    Ok(locked)
}

/// Moves pins.
pub fn update(arguments: &Update, global: &Global, output: &Output) -> CommandResult {
    let wrong = |failure| (Value::Null, failure);
    let (folder, names) = named_one(&arguments.words).map_err(wrong)?;
    let release = Release::load(&folder).map_err(wrong)?;
    let moves = if names.is_empty() { Moves::Everything } else { Moves::Names(&names) };
    let locked = make(&release, moves, global, output).map_err(wrong)?;
    let store = open_store(global).map_err(wrong)?;
    let cascade = match Cascade::new(&release, &locked, &store) {
        Ok(cascade) => Some(cascade),
        Err(failure) => {
            output.note(&format!("what this rebuilds is not known: {}", failure.summary()));
            None
        }
    };
    let moved = |change: &Change| matches!(change.pin, Pin::Suite { .. }) && change.old.is_some();
    let bump = match &cascade {
        Some(cascade) if locked.changes.iter().any(moved) => {
            output.note("solving every build root against the old and the new indexes…");
            match BumpPlan::new(&release, &locked, cascade, global) {
                Ok(bump) => Some(bump),
                Err(failure) => {
                    let told = failure.messages().join(": ");
                    output.note(&format!("how build roots change is not known: {told}"));
                    None
                }
            }
        }
        _ => None,
    };
    if !arguments.dry_run {
        write(&release, &locked, global).map_err(wrong)?;
    }
    let nothing = match locked.lock.downloads.is_empty() || !names.is_empty() {
        true => "nothing moved: every pin is the newest",
        false => {
            "nothing moved: every pin is the newest; what a URL names is looked at only when its \
             package or URL is named"
        }
    };
    Ok(tell(&locked, cascade.as_ref(), bump.as_ref(), output, nothing))
}

/// Says what is stale, and what is wrong with the specs that ask for pins.
fn check(folder: &HostPath, output: &Output) -> CommandResult {
    let surveyed = Release::survey(folder).map_err(|failure| (Value::Null, failure))?;
    let stale = surveyed.stale();
    let lines: Vec<String> = stale.iter().map(ToString::to_string).collect();
    let document = json!({ "stale": lines });
    let told = Failure::in_release(folder, pin::told(&stale));
    let stale = (!stale.is_empty()).then_some(Failure { kind: Kind::Result, ..told });
    let wrong = (!surveyed.wrong.is_empty())
        .then_some(Failure { kind: Kind::Input, problems: surveyed.wrong });
    match [wrong, stale].into_iter().flatten().reduce(Failure::and) {
        Some(failure) => Err((document, failure)),
        None => {
            output.text("release.lock is as it should be\n");
            Ok(document)
        }
    }
}

fn make(
    release: &Release,
    moves: Moves<'_>,
    global: &Global,
    output: &Output,
) -> Result<Locked, Failure> {
    if !global.offline {
        output.note("asking the archives…");
    }
    let store = open_store(global)?;
    let texts: BTreeMap<String, String> = stdlib::MODULES
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let cancel = cancel_on_interrupt()?;
    let request = pin::Request {
        folder: &release.folder,
        spec: &release.spec,
        old: release.lock.as_ref(),
        stdlib: &texts,
        store: &store,
        client: &client(global),
        mirrors: &mirrors(release, global)?,
        now: jiff::Timestamp::now(),
        cancel: &cancel,
    };
    pin::lock(&request, moves).map_err(|error| failed(&release.folder, error))
}

/// Writes the lock, and tells the journal of what it changes.
fn write(release: &Release, locked: &Locked, global: &Global) -> Result<(), Failure> {
    let folder = &release.folder;
    locked.write(folder).map_err(|error| failed(folder, error))?;
    if locked.changes.is_empty() {
        return Ok(());
    }
    let text = std::fs::read(folder.join(FILE));
    let text = text.map_err(|error| Failure::error(Kind::Machine, "system", &error))?;
    let lock = Digest::of(&text);
    let event = |change: &Change| Event::Pin {
        name: release.spec.release.name.clone(),
        version: release.spec.release.version.clone(),
        pin: change.pin.to_string(),
        old: change.old.clone(),
        new: change.new.clone(),
        lock,
    };
    let events: Vec<Event> = locked.changes.iter().map(event).collect();
    let kept = open_store(global)?.add_to_journal(&events);
    kept.map_err(|error| Failure::error(Kind::Machine, "store", &error))
}

fn failed(folder: &HostPath, error: pin::Error) -> Failure {
    match error {
        pin::Error::Input(diagnostics) => Failure::in_release(folder, diagnostics),
        pin::Error::Unreachable(diagnostic) => {
            let failure = Failure::in_release(folder, vec![*diagnostic]);
            Failure { kind: Kind::Machine, ..failure }
        }
        error => {
            let (kind, code) = match &error {
                pin::Error::Input(_) | pin::Error::Module(_) | pin::Error::Kept { .. } => {
                    (Kind::Input, "pin")
                }
                pin::Error::Signature { .. } => (Kind::Result, "signature"),
                pin::Error::Release { .. }
                | pin::Error::Unreliable { .. }
                | pin::Error::Index { .. }
                | pin::Error::Encoding { .. } => (Kind::Result, "archive"),
                pin::Error::Store(_) | pin::Error::Fetch(fetch::Error::Store(_)) => {
                    (Kind::Machine, "store")
                }
                pin::Error::System { .. } => (Kind::Machine, "system"),
                pin::Error::Unreachable(_) | pin::Error::Fetch(_) => (Kind::Machine, "fetch"),
            };
            Failure::error(kind, code, &error)
        }
    }
}

fn tell(
    locked: &Locked,
    cascade: Option<&Cascade>,
    bump: Option<&BumpPlan>,
    output: &Output,
    nothing: &str,
) -> Value {
    if locked.changes.is_empty() {
        output.summary(&format!("{nothing}\n"));
        return json!({ "changes": [] });
    }
    let mut changes = Vec::new();
    for change in &locked.changes {
        let mut document = json!({
            "pin": change.pin.to_string(),
            "old": change.old,
            "new": change.new,
            "note": change.note,
        });
        output.summary(&format!("{change}\n"));
        if let Some(cascade) = cascade {
            let effect = cascade.of(&change.pin);
            document["rebuilds"] = effect.document();
            // A moved suite is another input of everything: what that comes to is told below.
            if bump.is_none() || !matches!(change.pin, Pin::Suite { .. }) {
                output.summary(&effect.text());
            }
        }
        changes.push(document);
    }
    let mut document = json!({ "changes": changes });
    match (bump, cascade) {
        (Some(bump), _) => {
            output.text(&bump.text());
            let (roots, rebuilds) = bump.documents();
            document["roots"] = roots;
            document["rebuilds"] = rebuilds;
        }
        (None, Some(cascade)) => document["rebuilds"] = cascade.tell(output),
        (None, None) => {}
    }
    document
}
