//! `bundle`: a release with all that went into it and came of it, in one file.

mod create;
mod import;
mod verify;

use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{self, Global};
use super::failure::{Failure, Kind};
use super::output::{CommandResult, Output};
use super::progress::reading;
use super::report::bytes;
use crate::audit::bundle::{self, Bundle, Structure, open_plain};
use crate::base::{HostPath, PublicKey, Sha256};

pub use create::certificate;
pub use verify::told;

/// Makes, checks or imports a bundle.
pub fn run(command: &arguments::Bundle, global: &Global, output: &Output) -> CommandResult {
    let result = match command {
        arguments::Bundle::Create(arguments) => create::run(arguments, global, output),
        arguments::Bundle::Verify(arguments) => verify::run(arguments, global, output),
        arguments::Bundle::Import(arguments) => import::run(arguments, global, output),
    };
    result.map_err(|failure| (Value::Null, failure))
}

/// Opens a bundle.
pub fn open(path: &Path) -> Result<Bundle, Failure> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Bundle::open(&HostPath::new(absolute)).map_err(failed)
}

/// Why a bundle could not be made, or was refused.
pub fn failed(error: bundle::Error) -> Failure {
    use bundle::Error;
    let (kind, code) = match &error {
        Error::Cancelled => (Kind::Interrupted, "interrupted"),
        Error::None { .. } => (Kind::Input, "no-bundle"),
        Error::Exists(_) => (Kind::Input, "exists"),
        Error::Folder(_) => (Kind::Input, "release"),
        Error::Lost { .. } => (Kind::Result, "lost"),
        Error::Moved { .. } => (Kind::Result, "moved"),
        Error::System { operation: "open", source, .. }
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            (Kind::Input, "no-bundle")
        }
        error if error.is_of_the_bundle() => (Kind::Result, "bundle"),
        _ => (Kind::Machine, "bundle"),
    };
    let failure = Failure::error(kind, code, &error);
    match &error {
        Error::Exists(_) => failure.hint("name another, or move that one away"),
        Error::Lost { .. } => {
            failure.hint("`perestroika reproduce` fetches again what builds were made from")
        }
        Error::Moved { .. } => failure.hint(
            "`perestroika store verify` finds what is damaged; a file of the release \
                          may have changed meanwhile",
        ),
        Error::Elsewhere { .. } => failure.hint("import that bundle first"),
        Error::System { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            failure.hint("free some space there, or name a file on another disk")
        }
        error if error.is_of_the_bundle() => {
            failure.hint("get another copy of it: nothing of this one can be relied on")
        }
        _ => failure,
    }
}

/// More bytes than a key in PEM has.
const LARGEST_KEY: u64 = 4096;

/// The id of a key that is named by its file or by its id.
pub fn key_id(named: &str) -> Result<Sha256, Failure> {
    if let Ok(id) = named.to_ascii_lowercase().parse() {
        return Ok(id);
    }
    let mut text = String::new();
    let read = open_plain(&HostPath::new(named))
        .and_then(|(file, _)| file.take(LARGEST_KEY).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::input("no-key", format!("`{named}` is neither a fingerprint nor a key"))
            .because(error.to_string())
            .hint("a fingerprint has 64 hex digits; `perestroika key show` prints a key")
    })?;
    let key: PublicKey = text.parse().map_err(|error| {
        Failure::input("no-key", format!("`{named}` is no key")).because(format!("{error}"))
    })?;
    Ok(key.id())
}

/// Refuses a bundle that another key signed than the one that is demanded, if one is.
pub fn demand(bundle: &Bundle, key: Option<&str>) -> Result<(), Failure> {
    let Some(wanted) = key.map(key_id).transpose()? else { return Ok(()) };
    let found = bundle.key.id();
    if wanted == found {
        return Ok(());
    }
    let message = format!(
        "the bundle is not signed by the key that it has to be\n  expected {wanted}\n  \
         actual   {found}"
    );
    Err(Failure::new(Kind::Result, "other-key", message))
}

/// Runs something that tells how far it has come, in bytes.
pub fn with_bar<T>(
    global: &Global,
    what: &'static str,
    work: impl FnOnce(bundle::Seen<'_>) -> bundle::Result<T>,
) -> Result<T, Failure> {
    let bar = reading(global);
    let seen = |done: u64, total: u64| {
        // Numbers of bytes are hard to read: thousandths of the whole move the bar.
        let share = (done as u128 * 1000).checked_div(total.into()).unwrap_or(1000);
        bar.set_length(1000);
        bar.set_position(u64::try_from(share).unwrap_or(1000));
        bar.set_message(format!("{what} {} of {}", bytes(done), bytes(total)));
    };
    let result = work(&seen);
    bar.finish_and_clear();
    result.map_err(failed)
}

/// What a bundle is of, in the documents that `--json` prints.
pub fn document(bundle: &Bundle, structure: Option<&Structure>) -> Value {
    let index = &bundle.index;
    let mut document = json!({
        "release": {
            "name": index.name,
            "version": index.version,
            "id": index.release.to_string(),
            "manifest": index.manifest.to_string(),
        },
        "bundle": {
            "id": bundle.id.to_string(),
            "file": bundle.path().to_string(),
            "kind": index.kind,
            "members": index.members.len(),
            "elsewhere": index.elsewhere.len(),
            "base": index.base.map(|base| base.to_string()),
            "size": bundle.length,
            "unpacked": index.size(),
            "signed_by": bundle.key.id().to_string(),
        },
    });
    if let Some(structure) = structure {
        let records = structure.records.iter().map(|signed| {
            json!({
                "derivation": signed.derivation.to_string(),
                "action": signed.action.to_string(),
                "record": signed.digest.to_string(),
                "signed_by":
                    signed.signatures.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
                "journal": structure.proved.documents.contains(&signed.digest),
            })
        });
        document["records"] = records.collect();
        document["closure"] = structure.level.as_str().into();
        document["journal"] = json!({
            "head": structure.proved.head.map(|head| head.to_string()),
            "manifest": structure.proved.documents.contains(&index.manifest),
        });
    }
    document
}
