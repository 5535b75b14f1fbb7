//! `serve repo`: a repository, for apt and for people.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{bind, broken, hearer};
use crate::base::HostPath;
use crate::cli::arguments::{Global, ServeRepo};
use crate::cli::context::{nearest, open_store_to_look, release_folder, store_folder};
use crate::cli::failure::{Failure, Kind};
use crate::cli::interrupt::cancel_on_interrupt;
use crate::cli::output::Output;
use crate::cli::report::count;
use crate::publish::{self, Generation, Repository};
use crate::service::{Depot, Limits, Request, nginx};
use crate::store::Store;

/// Where it listens unless told otherwise.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8118);
/// The folder of a release's repository.
const FOLDER: &str = "repo";
/// How many connections there are at once: apt holds one for each repository while it works.
const CONNECTIONS: usize = 1024;

/// Serves a repository, or says how nginx does.
pub fn serve(arguments: &ServeRepo, global: &Global, output: &Output) -> Result<Value, Failure> {
    let repository = open(arguments.folder.as_deref())?;
    if arguments.nginx {
        return configuration(&repository, arguments.listen, output);
    }
    let server = bind(arguments.listen.unwrap_or(ADDRESS))?;
    let cancel = cancel_on_interrupt()?;
    let store = store(global, output)?;
    let live = match repository.live().map_err(|error| unread(&error))? {
        Some(number) => Some(repository.generation(number).map_err(|error| unread(&error))?),
        None => None,
    };
    let address = server.address();
    let document = document(&repository, live.as_ref(), address);
    output.begin(&document);
    output.text(&screen(&repository, live.as_ref(), address));
    output.flush();
    let depot = Depot::new(repository, store, address.to_string());
    let answer = Arc::new(move |request: &Request| depot.answer(request));
    let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
    server.run(answer, hearer(global), limits, &cancel).map_err(|error| broken(&error))?;
    Ok(document)
}

/// The repository in a folder, or of the release there.
fn open(folder: Option<&Path>) -> Result<Repository, Failure> {
    let of_release = |release: &HostPath| release.join(FOLDER);
    let path = match folder {
        None => of_release(&nearest()?),
        Some(folder) if folder.join("release.toml").is_file() => {
            of_release(&release_folder(folder)?)
        }
        Some(folder) => {
            let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
            HostPath::new(path)
        }
    };
    Repository::open(path).map_err(|error| match &error {
        publish::Error::Absent(_) => Failure::error(Kind::Input, "no-repository", &error)
            .hint("`perestroika publish` makes the one of a release, in its folder `repo`"),
        _ => unread(&error),
    })
}

/// The store of this machine, if it has one: what its packages were built from is told then.
fn store(global: &Global, output: &Output) -> Result<Option<Store>, Failure> {
    let named = global.store.is_some();
    // Who only serves has none, and gets none by it.
    let is_there = store_folder(global).is_ok_and(|folder| folder.as_path().is_dir());
    match is_there.then(|| open_store_to_look(global)) {
        Some(Ok(store)) => Ok(Some(store)),
        Some(Err(failure)) if named => Err(failure),
        Some(Err(failure)) => {
            let because = failure.messages().join(": ");
            output.note(&format!("note: nothing is told of builds: {because}"));
            Ok(None)
        }
        None if named => {
            output.note("note: nothing is told of builds: there is no such store");
            Ok(None)
        }
        None => Ok(None),
    }
}

fn configuration(
    repository: &Repository,
    listen: Option<SocketAddr>,
    output: &Output,
) -> Result<Value, Failure> {
    let text = nginx(repository, listen).map_err(|error| {
        Failure::error(Kind::Input, "path", &error).hint("a link to it elsewhere has another path")
    })?;
    output.text(&text);
    Ok(json!({ "repository": repository.root().to_string(), "nginx": text }))
}

fn unread(error: &publish::Error) -> Failure {
    Failure::error(Kind::Machine, "repository", error)
}

/// What is served, and where.
fn document(repository: &Repository, live: Option<&Generation>, address: SocketAddr) -> Value {
    let suites = live.into_iter().flat_map(|live| &live.suites).map(|(name, state)| {
        json!({
            "name": name,
            "packages": state.packages,
            "components": state.components,
            "architectures": state.architectures,
            "valid_until": state.valid_until,
            "sources": format!("http://{address}/sources/{name}.sources"),
        })
    });
    json!({
        "url": format!("http://{address}/"),
        "repository": repository.root().to_string(),
        "generation": live.map(|live| live.number),
        "suites": suites.collect::<Vec<_>>(),
    })
}

fn screen(repository: &Repository, live: Option<&Generation>, address: SocketAddr) -> String {
    let mut text = format!("http://{address}/\n");
    match live {
        None => text += &format!("  {} has no generation yet\n", repository.root()),
        Some(live) => {
            text += &format!("  generation {} of {}\n", live.number, repository.root());
            for (name, state) in &live.suites {
                let packages = count(state.packages as usize, "package");
                text += &format!("  {name}: {packages}\n");
                text += &format!("    http://{address}/sources/{name}.sources\n");
            }
        }
    }
    text + "Ctrl-C ends it\n"
}
