//! `key`: the keys that vouch for what is built here, and those that sign repositories.

mod check;
mod new;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::arguments::{self, Global};
use super::config::Config;
use super::context::{Release, open_store_to_look};
use super::failure::{Failure, Kind, Problem};
use super::output::{CommandResult, Output};
use crate::base::HostPath;
use crate::publish::sign::{self, Places, PublicFile};
use crate::store::{BuilderKey, Store};

/// Makes a key, says what keys are good for, lists them, or shows the public half of one.
pub fn run(command: &arguments::Key, global: &Global, output: &Output) -> CommandResult {
    let result = match command {
        arguments::Key::New(command) => new::run(command, output),
        arguments::Key::Check(command) => return check::run(command, output),
        arguments::Key::List => list(global, output),
        arguments::Key::Show => show(global, output),
    };
    result.map_err(|failure| (Value::Null, failure))
}

/// Where the secret halves of keys are looked for: in the files that the command line or the
/// environment names, without any in those of the user's config.toml, then with gpg.
pub fn places(key_files: &[PathBuf]) -> Result<Places, Failure> {
    let key_files = match key_files {
        [] => Config::load()?.key_files(),
        given => given.to_vec(),
    };
    let gnupg_home = std::env::var_os("GNUPGHOME").filter(|home| !home.is_empty());
    Ok(Places {
        key_files: key_files.into_iter().map(HostPath::new).collect(),
        gnupg_home: gnupg_home.map(HostPath::new),
    })
}

/// The file of a public key that a release names.
pub fn public_file(path: HostPath) -> Result<PublicFile, Failure> {
    match std::fs::read(&path) {
        Ok(bytes) => Ok(PublicFile { path, bytes }),
        Err(error) => {
            let failure = Failure::input("key", format!("cannot read the key `{path}`: {error}"));
            Err(failure.hint("`perestroika key new` makes one"))
        }
    }
}

/// What is wrong with the public keys of a release's suites.
pub fn unfit(release: &Release) -> Vec<Problem> {
    let keys = release.spec.release.suites.values().flat_map(|suite| &suite.keys);
    let paths: BTreeSet<&str> = keys.map(|key| key.value.as_str()).collect();
    let wrong = |path: &str| {
        let file = public_file(release.folder.join(path));
        let read = file.and_then(|file| {
            sign::read(&file, jiff::Timestamp::now()).map_err(|error| unsigned(&error))
        });
        read.err().map(|failure| failure.problems).unwrap_or_default()
    };
    paths.into_iter().flat_map(wrong).collect()
}

/// Why nothing is signed, and what to do about it.
pub fn unsigned(error: &sign::Error) -> Failure {
    let kind = match error {
        sign::Error::Interrupted => Kind::Interrupted,
        error if error.is_input() => Kind::Input,
        _ => Kind::Machine,
    };
    let failure = Failure::error(kind, "key", error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn list(global: &Global, output: &Output) -> Result<Value, Failure> {
    let store = open_store_to_look(global)?;
    let path = store.builder_key_path();
    let Some(key) = store.builder_key().map_err(|error| unread(&error))? else {
        output.text("no key yet: the first build with this store makes its builder key\n");
        return Ok(json!({ "keys": [] }));
    };
    output.text(&format!("builder  ed25519  {}  {path}\n", key.id()));
    let key = json!({
        "kind": "builder",
        "algorithm": "ed25519",
        "id": key.id().to_string(),
        "file": path.to_string(),
    });
    Ok(json!({ "keys": [key] }))
}

fn show(global: &Global, output: &Output) -> Result<Value, Failure> {
    let store = open_store_to_look(global)?;
    let key = builder(&store)?;
    output.text(&key.public_pem());
    Ok(json!({
        "kind": "builder",
        "algorithm": "ed25519",
        "id": key.id().to_string(),
        "public": key.public_pem(),
    }))
}

/// The key that the store signs with, which it has to have.
pub fn builder(store: &Store) -> Result<BuilderKey, Failure> {
    store.builder_key().map_err(|error| unread(&error))?.ok_or_else(|| {
        Failure::input("no-key", format!("the store `{}` has no builder key", store.root()))
            .hint("the first build with it makes one")
    })
}

fn unread(error: &crate::store::Error) -> Failure {
    Failure::error(Kind::Machine, "key", error)
}
