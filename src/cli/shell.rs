//! `shell`: goes into the sandbox of a failed build, or into one like it.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::address::command;
use super::arguments::{Enter, Global};
use super::build;
use super::config::Config;
use super::context::{Machine, Release, named_one};
use super::eval::select;
use super::failure::{Failure, Kind};
use super::output::Output;
use super::report::kind_of;
use crate::base::{DerivationId, PackageName};
use crate::graph::Graph;
use crate::realise::driver;
use crate::realise::enter::{Entry, Way};
use crate::realise::event::{Event, Phase};
use crate::sandbox::native::Session;
use crate::sandbox::{Outcome, Verdict};
use crate::store::{Capsule, Store};

/// Goes in; the exit code is that of the command that was run there.
pub fn run(arguments: &Enter, global: &Global, output: &Output) -> ExitCode {
    match enter(arguments, global, output) {
        Ok((document, code)) => {
            let shown = output.finish(Ok(document));
            if code == 0 { shown } else { ExitCode::from(code) }
        }
        Err(failure) => output.finish(Err((Value::Null, failure))),
    }
}

fn enter(arguments: &Enter, global: &Global, output: &Output) -> Result<(Value, u8), Failure> {
    let (folder, names) = named_one(&arguments.words.words)?;
    let [name] = names.as_slice() else {
        return Err(Failure::input("one-package", "one package is entered at a time")
            .hint("`perestroika shell PKG`; a command to run in it comes after `--`"));
    };
    if output.wants_document() && arguments.command.is_empty() {
        return Err(Failure::input("interactive", "a document cannot be made of a conversation")
            .hint("name a command to run: `perestroika shell PKG --json -- CMD`"));
    }
    let release = Release::load(&folder)?;
    let graph = release.graph()?;
    let ids = select(&graph, &names)?;
    let name: PackageName =
        name.parse().map_err(|error| Failure::error(Kind::Input, "name", &error))?;
    let config = Config::load()?;
    let machine = Machine::open(&release, global)?.enforcing(config.enforcement(None), global)?;
    let way = match (arguments.fresh, arguments.installed) {
        (true, _) => Some(Way::Fresh),
        (_, true) => Some(Way::Installed),
        _ => None,
    };
    let (entry, told) = match way {
        Some(way) => (anew(&machine, &graph, ids[0], way, output)?, json!({})),
        None => {
            let (capsule, number) = newest(machine.world().store, &graph, &name, arguments.attempt)
                .map_err(|failure| {
                    failure.hint(format!(
                        "`{} --fresh` goes in before a build",
                        command("shell", &folder, name.as_str())
                    ))
                })?;
            if capsule.contents.derivation != ids[0].to_string() {
                output.note("(this is of another recipe: the release has changed since)");
            }
            let options = build::default_options();
            let entry = Entry::of_capsule(machine.world().store, &capsule, &options.allowance)
                .map_err(|error| Failure::error(Kind::Machine, "capsule", &error))?
                .ok_or_else(|| {
                    Failure::new(Kind::Machine, "occupied", "somebody is in this sandbox already")
                })?;
            (entry, json!({ "attempt": number, "derivation": capsule.contents.derivation }))
        }
    };
    let entry = if arguments.writable { entry.writable() } else { Ok(entry) }
        .map_err(|error| Failure::error(Kind::Machine, "overlay", &error))?;
    let (words, session) = words(arguments);
    let mut entry = entry.running(&words);
    if session == Session::Terminal {
        let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        entry.request.env.insert("TERM".to_owned(), terminal);
        entry.request.env.insert("PS1".to_owned(), format!("{name}:\\w\\$ "));
        output.note(match way {
            None => "what you change here stays for the next `shell` and for `patch`; ^D leaves",
            Some(_) => "what you change here goes when you leave: ^D",
        });
    }
    // For a document the output is caught instead.
    let caught = output.wants_document();
    let (outcome, out) = machine
        .enter(&entry.request, (!caught).then_some(session))
        .map_err(|error| Failure::error(Kind::Machine, "sandbox", &error))?;
    let code = code(&outcome)?;
    let mut document = told;
    document["package"] = name.as_str().into();
    document["command"] = words.into();
    document["exit"] = code.into();
    if caught {
        document["output"] = out.into();
    }
    Ok((document, code))
}

/// What runs in it: the command that was named, or a shell. A shell that is not spoken to by a
/// terminal reads its commands.
fn words(arguments: &Enter) -> (Vec<String>, Session) {
    if !arguments.command.is_empty() {
        return (arguments.command.clone(), Session::Streams);
    }
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        let shell = ["/bin/bash", "--norc", "--noprofile", "-i"];
        (shell.map(str::to_owned).into(), Session::Terminal)
    } else {
        (vec!["/bin/bash".to_owned()], Session::Streams)
    }
}

/// The newest capsule of a package, or that of an attempt.
pub fn newest(
    store: &Store,
    graph: &Graph,
    name: &PackageName,
    number: Option<u64>,
) -> Result<(Capsule, u64), Failure> {
    let machine = |error| Failure::error(Kind::Machine, "store", &error);
    let attempts = store.attempts(Some(name), u32::MAX).map_err(machine)?;
    let wanted = attempts.iter().filter(|attempt| number.is_none_or(|one| one == attempt.number));
    // Another release on the same store may have a package of this name: ours comes first.
    let (ours, others): (Vec<_>, Vec<_>) =
        wanted.partition(|attempt| graph.node(attempt.derivation).is_some());
    for attempt in ours.into_iter().chain(others) {
        if let Some(capsule) = store.capsule(attempt.id).map_err(machine)? {
            return Ok((capsule, attempt.number));
        }
    }
    Err(match number {
        Some(number) => Failure::input(
            "no-capsule",
            format!("no sandbox of attempt {number} at `{name}` is kept"),
        ),
        None => Failure::input(
            "no-capsule",
            format!("no sandbox of a failed build of `{name}` is kept"),
        ),
    })
}

/// A guest that nothing has run in.
fn anew(
    machine: &Machine,
    graph: &Graph,
    id: DerivationId,
    way: Way,
    output: &Output,
) -> Result<Entry, Failure> {
    let tell = |event: Event| {
        if let Event::Phase { package, phase: Phase::Root { step, done: 0, .. } } = event {
            output.note(&format!("{package}: build root: {step}"));
        }
    };
    let world = machine.world();
    let entered = driver::enter(&world, graph, id, &build::default_options(), way, &tell)
        .map_err(|error| Failure::error(Kind::Machine, "machine", &error))?;
    entered.map_err(|failed| {
        let failure = Failure::new(kind_of(failed.fault), "not-prepared", &failed.cause);
        let failure = failed.reasons.iter().cloned().fold(failure, Failure::because);
        failed.hint.iter().fold(failure, |failure, hint| failure.hint(*hint))
    })
}

/// The exit code to hand on: of a signal as shells do it.
fn code(outcome: &Outcome) -> Result<u8, Failure> {
    let ended = |text: &str| Err(Failure::new(Kind::Machine, "ended", text));
    match outcome.verdict {
        Verdict::Built => Ok(0),
        Verdict::Failed(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        Verdict::Signalled(signal) => Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        Verdict::Cancelled => Ok(130),
        Verdict::OutOfMemory => ended("the sandbox needed more memory than a build may have"),
        Verdict::OutOfSpace => ended("there was no space left for what the sandbox wrote"),
        Verdict::TimedOut | Verdict::Silent | Verdict::OutOfOutput => {
            ended("the sandbox was ended by its limits")
        }
    }
}
