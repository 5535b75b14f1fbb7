//! `bundle verify`: every byte, without a store.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{demand, document, open, with_bar};
use crate::audit::bundle::{self, Bundle, Kind, Structure};
use crate::base::Sha256;
use crate::cli::arguments::{BundleVerify, Global};
use crate::cli::failure::Failure;
use crate::cli::interrupt::cancel_on_interrupt;
use crate::cli::output::Output;
use crate::cli::report::{bytes, count};

/// Checks a bundle.
pub fn run(arguments: &BundleVerify, global: &Global, output: &Output) -> Result<Value, Failure> {
    let bundle = open(&arguments.file)?;
    demand(&bundle, arguments.key.as_deref())?;
    let cancel = cancel_on_interrupt()?;
    let verified = with_bar(global, "reading", |seen| bundle::verify(&bundle, seen, &cancel))?;
    output.text(&told(&bundle, &verified.structure, arguments.key.as_deref()));
    let mut document = document(&bundle, Some(&verified.structure));
    document["bundle"]["compared"] = arguments.key.is_some().into();
    Ok(document)
}

/// What a bundle that was read through states, and what that rests on.
pub fn told(bundle: &Bundle, structure: &Structure, key: Option<&str>) -> String {
    let index = &bundle.index;
    let mut text = format!(
        "{} {} · {} · manifest {}\n",
        index.name,
        index.version,
        index.release.short(),
        index.manifest.short()
    );
    let kind = match index.kind {
        Kind::Whole => "whole",
        Kind::Delta => "delta",
        Kind::Records => "records",
    };
    let members = count(index.members.len(), "member");
    let size = bytes(index.size());
    let _ = writeln!(text, "{kind:10} {members}, {size} unpacked: every byte as the index has it");
    if let Some(base) = index.base {
        let elsewhere = count(index.elsewhere.len(), "member");
        let _ = writeln!(text, "           {elsewhere} more in bundle {base}");
    }
    let mut signers: BTreeMap<Sha256, usize> = BTreeMap::new();
    for (id, _) in structure.records.iter().flat_map(|signed| &signed.signatures) {
        *signers.entry(*id).or_default() += 1;
    }
    for (id, records) in signers {
        let _ = writeln!(text, "records    {} signed by {id}", count(records, "record"));
    }
    if structure.unseen > 0 {
        let unseen = count(structure.unseen, "document");
        let _ = writeln!(text, "           {unseen} not looked at: in the other bundle");
    }
    let proved = &structure.proved;
    let is_told = |signed: &&bundle::Signed| proved.documents.contains(&signed.digest);
    let records = structure.records.iter().filter(is_told).count();
    let manifest = match proved.documents.contains(&index.manifest) {
        true => " and of the manifest",
        false => "",
    };
    match &proved.head {
        Some(head) => {
            let all = count(structure.records.len(), "record");
            let _ = writeln!(
                text,
                "journal    tells of {records} of {all}{manifest}\n           {head}"
            );
        }
        None => text.push_str("journal    tells of none of it\n"),
    }
    let level = match structure.level.as_str() {
        "" => "in the other bundle",
        level => level,
    };
    let _ = writeln!(text, "closure    {level}; `perestroika reproduce FILE` certifies it anew");
    let compared = match key {
        Some(_) => "",
        None => " (not compared)",
    };
    let _ = writeln!(text, "signed by  {}{compared}", bundle.key.id());
    if key.is_none() {
        let hint = "compare that with what came to you another way: `--key FINGERPRINT`";
        let _ = writeln!(text, "           {hint}");
    }
    text
}
