//! `bundle import`: into the store, and the release into a folder.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{document, failed, key_id, open, told, with_bar};
use crate::audit::bundle::{self, Adopt, Adopted, Kind as Extent};
use crate::base::{HostPath, Sha256};
use crate::cli::arguments::{BundleImport, Global};
use crate::cli::context::{Release, open_store};
use crate::cli::failure::{Failure, Kind};
use crate::cli::interrupt::cancel_on_interrupt;
use crate::cli::output::Output;
use crate::cli::report::{bytes, count};

/// Imports a bundle.
pub fn run(arguments: &BundleImport, global: &Global, output: &Output) -> Result<Value, Failure> {
    let trusted: BTreeSet<Sha256> =
        arguments.trust.iter().map(|key| key_id(key)).collect::<Result<_, _>>()?;
    let to = arguments.to.as_ref();
    let to = to.map(|to| HostPath::new(std::path::absolute(to).unwrap_or_else(|_| to.clone())));
    if let Some(to) = &to
        && std::fs::symlink_metadata(to).is_ok()
    {
        return Err(failed(bundle::Error::Exists(to.clone())));
    }
    let bundle = open(&arguments.file)?;
    if !trusted.is_empty() && !trusted.contains(&bundle.key.id()) {
        let message = format!(
            "the bundle is not signed by a key that `--trust` names, but by\n  {}",
            bundle.key.id()
        );
        return Err(Failure::new(Kind::Result, "other-key", message)
            .hint("without `--trust` what it brings is evidence"));
    }
    let has_files = bundle.index.kind != Extent::Records;
    if !has_files && (to.is_some() || !trusted.is_empty()) {
        let message = "a bundle of records has neither a release folder nor results to use";
        return Err(Failure::input("records", message)
            .hint("import it without `--to` and `--trust`: its records are evidence"));
    }
    let cancel = cancel_on_interrupt()?;
    let compared = trusted.contains(&bundle.key.id()).then_some("");
    if arguments.dry_run {
        let verified = with_bar(global, "reading", |seen| bundle::verify(&bundle, seen, &cancel))?;
        let store = open_store(global)?;
        let (new, size) = bundle::lacking(&bundle, &store);
        output.text(&told(&bundle, &verified.structure, compared));
        let new_text = count(new, "member");
        output.text(&format!("it would bring {new_text}, {}\n", bytes(size)));
        let mut document = document(&bundle, Some(&verified.structure));
        document["new"] = json!({ "members": new, "bytes": size });
        return Ok(document);
    }
    let store = open_store(global)?;
    let brought =
        with_bar(global, "importing", |seen| bundle::bring(&bundle, &store, seen, &cancel))?;
    let structure = &brought.structure;
    let mut text = told(&bundle, structure, compared);
    text.push_str(&format!(
        "brought    {}, {}; the rest was here\n",
        count(brought.new, "member"),
        bytes(brought.bytes)
    ));
    let mut document = document(&bundle, Some(structure));
    document["new"] = json!({ "members": brought.new, "bytes": brought.bytes });
    let mut folder = None;
    if let Some(to) = &to {
        folder = Some(bundle::unfold(&bundle, &store, to).map_err(failed)?);
        text.push_str(&format!("release    in {}\n", to));
    }
    let mut adopted = Adopted { evidence: structure.records.len(), ..Adopted::default() };
    if !trusted.is_empty() {
        let scratch = store.scratch().map_err(|error| failed(error.into()))?;
        let folder = match folder.clone() {
            Some(folder) => folder,
            None => {
                bundle::unfold(&bundle, &store, &scratch.path().join("release")).map_err(failed)?
            }
        };
        let graph = Release::load(&folder)?.graph()?;
        let which = Adopt::SignedBy(&trusted);
        adopted = bundle::adopt(&bundle, structure, &graph, &store, which).map_err(failed)?;
    }
    text.push_str(&fate(&adopted));
    text.push_str("kept until `perestroika store unpin` lets the release go\n");
    output.summary(&text);
    document["folder"] = folder.map(|folder| folder.to_string()).into();
    document["adopted"] = adopted.adopted.into();
    document["divergent"] = adopted.divergent.into();
    document["evidence"] = adopted.evidence.into();
    if !trusted.is_empty() && adopted.adopted == 0 {
        let message = "no record of the bundle could be trusted: none is signed by such a key, or they are of \
                       another version of this program";
        let failure = Failure::new(Kind::Result, "other-key", message);
        return Err(failure.hint("what it brought is evidence; `bundle verify` tells who signed"));
    }
    Ok(document)
}

/// What became of the records.
fn fate(adopted: &Adopted) -> String {
    let mut text = String::new();
    if adopted.adopted > 0 {
        let records = count(adopted.adopted, "record");
        text.push_str(&format!("results    {records}: builds use what they say\n"));
    }
    if adopted.divergent > 0 {
        let records = count(adopted.divergent, "record");
        text.push_str(&format!("divergent  {records}: this store has built something else\n"));
    }
    if adopted.evidence > 0 {
        let records = count(adopted.evidence, "record");
        text.push_str(&format!("evidence   {records}: no build uses what they say\n"));
    }
    text
}
