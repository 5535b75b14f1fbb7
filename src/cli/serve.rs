//! `serve`: answers over HTTP, read-only, until it is told to stop.

mod repo;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::{Global, Serve, ServeStore};
use super::context::{Machine, Release, nearest, open_store_to_look, release_folder};
use super::failure::{Failure, Kind};
use super::interrupt::cancel_on_interrupt;
use super::output::{CommandResult, Output};
use super::report::count;
use crate::base::HostPath;
use crate::realise::bump::of_graph;
use crate::realise::universe::Snapshots;
use crate::service::{Bank, Hearer, Limits, Pinned, Request, RootList, Server, Suite};
use crate::store::Store;

/// Serves what was asked for.
pub fn run(command: &Serve, global: &Global, output: &Output) -> CommandResult {
    let served = match command {
        Serve::Store(arguments) => store(arguments, global, output),
        Serve::Repo(arguments) => repo::serve(arguments, global, output),
    };
    served.map_err(|failure| (Value::Null, failure))
}

fn store(arguments: &ServeStore, global: &Global, output: &Output) -> Result<Value, Failure> {
    let server = bind(arguments.listen)?;
    let cancel = cancel_on_interrupt()?;
    let store = open_store_to_look(global)?;
    let folders = folders(&arguments.words)?;
    let releases = folders
        .iter()
        .map(|folder| pinned(&store, folder, global, output))
        .collect::<Result<Vec<Pinned>, Failure>>()?;
    let address = server.address();
    let bank = Bank::new(store, releases, address.to_string()).map_err(|error| broken(&error))?;
    let document = document(&bank, address);
    output.begin(&document);
    output.text(&screen(&bank, address));
    output.flush();
    if !address.ip().is_loopback() {
        output.note("note: whoever reaches this address can read the objects of this store");
    }
    let bank = Arc::new(bank);
    let answer = Arc::new(move |request: &Request| bank.answer(request));
    let limits = Limits::default();
    server.run(answer, hearer(global), limits, &cancel).map_err(|error| broken(&error))?;
    Ok(document)
}

/// Listens. What is busy is said before anything is read.
fn bind(address: SocketAddr) -> Result<Server, Failure> {
    Server::bind(address).map_err(|error| {
        broken(&error).hint("`--listen ADDRESS:PORT` names another; port 0 is one that is free")
    })
}

/// Who tells of each request, if that was asked for.
fn hearer(global: &Global) -> Arc<Hearer> {
    match global.verbose {
        true => Arc::new(|target, status| {
            // Whoever reads this is a terminal, and the target is a stranger's.
            let line = format!("{status} {}\n", target.escape_debug());
            let _ = std::io::stderr().write_all(line.as_bytes());
        }),
        false => Arc::new(|_, _| {}),
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::error(Kind::Machine, "serve", error)
}

/// The release folders that were named; without any the nearest, if there is one.
fn folders(words: &[String]) -> Result<Vec<HostPath>, Failure> {
    if words.is_empty() {
        return Ok(nearest().into_iter().collect());
    }
    let is_folder = |word: &String| word == "." || word == ".." || word.contains('/');
    if let Some(name) = words.iter().find(|word| !is_folder(word)) {
        let message = format!("`serve store` takes release folders, not `{name}`");
        let failure = Failure::input("unexpected", message);
        return Err(match Path::new(name).join("release.toml").is_file() {
            true => failure.hint(format!("a folder is written `{name}/`")),
            false => failure,
        });
    }
    words.iter().map(|word| release_folder(Path::new(word))).collect()
}

/// A release as it is pinned; nothing is fetched for it.
fn pinned(
    store: &Store,
    folder: &HostPath,
    global: &Global,
    output: &Output,
) -> Result<Pinned, Failure> {
    let release = Release::load(folder)?;
    let Some(lock) = &release.lock else {
        let message = format!("`{folder}` has no release.lock: it is pinned to nothing");
        return Err(Failure::input("stale-lock", message)
            .hint(format!("`perestroika lock {folder}/` makes it")));
    };
    let pinned = Pinned::read(store, folder, &release.spec.release, lock)
        .map_err(|error| Failure::error(Kind::Machine, "pinned", &error))?;
    let offline = Global { offline: true, ..global.clone() };
    match roots(&release, &offline) {
        Ok(roots) => Ok(pinned.with_roots(roots)),
        Err(failure) => {
            let because = failure.messages().join(": ");
            output.note(&format!("note: no lists of the roots of {}: {because}", pinned.title));
            Ok(pinned)
        }
    }
}

/// What the roots of a release consist of.
fn roots(release: &Release, global: &Global) -> Result<Vec<RootList>, Failure> {
    let graph = release.graph()?;
    let machine = Machine::open(release, global)?;
    let (world, snapshots) = (machine.world(), Snapshots::default());
    let mut lists = Vec::new();
    let names: Vec<&str> = of_graph(&graph).map(|(_, _, name)| name).collect();
    for (node, root, name) in of_graph(&graph) {
        let snapshot = snapshots.get(&world, &graph, node.id).map_err(|error| broken(&*error))?;
        let base = snapshot.base(root).map_err(|error| broken(&error))?;
        let name = match names.iter().filter(|other| **other == name).count() {
            1 => name.to_owned(),
            _ => format!("{name}-{}", root.architecture),
        };
        let packages = base.iter().map(|one| (one.name.to_string(), one.version.to_string()));
        lists.push(RootList { name, packages: packages.collect() });
    }
    Ok(lists)
}

/// What is served, and where.
fn document(bank: &Bank, address: SocketAddr) -> Value {
    let releases = bank.releases().iter().map(|release| {
        let archives = release.archives().iter().map(|archive| {
            json!({
                "name": archive.name,
                "url": format!("http://{address}/release/{}/archive/{}", release.title, archive.name),
                "suites": archive.suites.iter().map(suite).collect::<Vec<_>>(),
                "packages": { "listed": archive.tally.packages, "held": archive.tally.packages_held },
                "sources": { "listed": archive.tally.sources, "held": archive.tally.sources_held },
            })
        });
        json!({ "name": release.title, "archives": archives.collect::<Vec<_>>() })
    });
    json!({ "url": format!("http://{address}/"), "releases": releases.collect::<Vec<_>>() })
}

fn suite(suite: &Suite) -> Value {
    json!({
        "name": suite.name,
        "date": suite.date,
        "valid_until": suite.valid_until.map(|end| end.to_string()),
        "lacks": suite.lacks,
    })
}

fn screen(bank: &Bank, address: SocketAddr) -> String {
    let mut text = format!("http://{address}/\n");
    for release in bank.releases() {
        for archive in release.archives() {
            let tally = archive.tally;
            let _ = writeln!(
                text,
                "  {} archive {}: {} of {} held, {} of {}",
                release.title,
                archive.name,
                tally.packages_held,
                count(tally.packages, "package"),
                tally.sources_held,
                count(tally.sources, "source file"),
            );
            for suite in &archive.suites {
                let _ = writeln!(text, "    {} of {}", suite.name, suite.date);
                for path in &suite.lacks {
                    let _ = writeln!(
                        text,
                        "    no client can get its index `{path}`: the store does not have it, or \
                         the archive lists it compressed only"
                    );
                }
            }
            let name = &archive.name;
            let _ = writeln!(text, "    http://{address}/archive/{name}/{name}.sources");
        }
    }
    text.push_str("Ctrl-C ends it\n");
    text
}
