//! `repo push`: brings what clients read to another place.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::arguments::{Global, RepoPush};
use super::super::failure::{Failure, Kind};
use super::super::interrupt::cancel_on_interrupt;
use super::super::output::Output;
use super::super::progress::reading;
use super::super::report::{bytes, count};
use super::{broken, open};
use crate::fetch::{Client, Network, Patience};
use crate::publish::mirror::{Environment, Error, Mode, Pushed, Snapshots, Wish, push};

/// Pushes, or foresees it.
pub fn run(arguments: &RepoPush, global: &Global, output: &Output) -> Result<Value, Failure> {
    let repository = open(&arguments.repo)?;
    let cancel = cancel_on_interrupt()?;
    let network = if global.offline { Network::Offline } else { Network::Online };
    let bar = reading(global);
    let seen = |what: &str, done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        bar.set_message(what.to_owned());
    };
    let wish = Wish {
        target: &arguments.target,
        snapshots: match arguments.snapshots {
            true => Snapshots::Kept { days: arguments.keep_days },
            false => Snapshots::None,
        },
        mode: if arguments.dry_run { Mode::Foresee } else { Mode::Push },
        client: &Client::new(network, Patience::default()),
        environment: &Environment::of_this_process(arguments.endpoint.clone()),
        seen: &seen,
        cancel: &cancel,
    };
    let pushed = push(&repository, &wish, jiff::Timestamp::now().as_second());
    bar.finish_and_clear();
    let pushed = pushed.map_err(failed)?;
    output.summary(&told(&pushed, arguments, global.verbose));
    Ok(document(&pushed, arguments))
}

fn failed(error: Error) -> Failure {
    let error = match error {
        Error::Repository(error) => return broken(error),
        error => error,
    };
    let kind = match &error {
        Error::Cancelled => Kind::Interrupted,
        Error::Unpublished(_)
        | Error::Inside(_)
        | Error::Foreign { .. }
        | Error::OtherMirror { .. }
        | Error::NoLinks(_)
        | Error::Offline(_)
        | Error::Credentials { .. } => Kind::Input,
        _ => Kind::Machine,
    };
    let failure = Failure::error(kind, "mirror", &error);
    match &error {
        Error::Program { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            failure.hint("install rsync: this command alone needs it")
        }
        Error::Unpublished(_) => failure.hint("`perestroika publish` makes the first generation"),
        Error::Failed { .. } | Error::Rsync { .. } => {
            failure.hint("clients of the mirror read what they read before; the next push goes on")
        }
        Error::Source { .. } | Error::Unlisted { .. } | Error::Copy { .. } => {
            failure.hint("nothing of it may go to a mirror; publish that package again")
        }
        _ => failure,
    }
}

fn told(pushed: &Pushed, arguments: &RepoPush, verbose: bool) -> String {
    let mut text = String::new();
    let (target, dry_run) = (&arguments.target, arguments.dry_run);
    let verb = |done: &'static str, would: &'static str| if dry_run { would } else { done };
    if dry_run || verbose {
        for path in &pushed.sent {
            let _ = writeln!(text, "{}  {path}", verb("sent", "would send"));
        }
    }
    for path in &pushed.mended {
        let _ = writeln!(
            text,
            "{}  {path}: it was damaged at the far end",
            verb("sent again", "would send again")
        );
    }
    for name in &pushed.removed {
        let _ = writeln!(
            text,
            "{}  snapshots/{name}: no link leads to it, and it is older than {}",
            verb("removed", "would remove"),
            count(usize::try_from(arguments.keep_days).unwrap_or(usize::MAX), "day"),
        );
    }
    let place = match &pushed.snapshot {
        Some(name) => format!("{target}, snapshots/{name}"),
        None => target.to_string(),
    };
    let _ = writeln!(
        text,
        "generation {} {} {place}: {} of {}, {}",
        pushed.generation,
        verb("is what clients read at", "would go to"),
        pushed.sent.len() + pushed.mended.len(),
        count(pushed.files, "file"),
        bytes(pushed.bytes),
    );
    text
}

fn document(pushed: &Pushed, arguments: &RepoPush) -> Value {
    json!({
        "target": arguments.target.to_string(),
        "generation": pushed.generation,
        "files": pushed.files,
        "sent": pushed.sent,
        "bytes": pushed.bytes,
        "mended": pushed.mended,
        "snapshot": pushed.snapshot,
        "removed": pushed.removed,
    })
}
