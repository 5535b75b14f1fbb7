//! `key`: the keys that vouch for what is built here.

use serde_json::{Value, json};

use super::arguments::{self, Global};
use super::context::open_store_to_look;
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use crate::store::{BuilderKey, Store};

/// Lists the keys, or shows the public half of one.
pub fn run(command: &arguments::Key, global: &Global, output: &Output) -> CommandResult {
    let result = match command {
        arguments::Key::List => list(global, output),
        arguments::Key::Show => show(global, output),
    };
    result.map_err(|failure| (Value::Null, failure))
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
