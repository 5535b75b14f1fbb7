//! The `.buildinfo` of a build.

use std::collections::BTreeMap;
use std::io::{self, Read};

use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::Build;
use crate::archive::deb::buildinfo::{Account, File};
use crate::archive::deb::control::paragraphs;
use crate::audit::error::{Error, Result};
use crate::base::HostPath;
use crate::realise::build_path;
use crate::realise::record::Output;
use crate::sandbox::{Stage, contract};
use crate::store::Store;

/// The name of a build's `.buildinfo`, and its text. The format demands digests that a record does
/// not have, so the outputs are read.
///
/// Of the environment it has what the action and the guest contract state: how many processors
/// there were is not part of it, and `SOURCE_DATE_EPOCH` is the changelog's.
pub fn build_info(store: &Store, build: &Build<'_>) -> Result<(String, String)> {
    let package = build.package;
    // As dpkg-genbuildinfo has it: of a source package the `.dsc`, which names the rest.
    let outputs = build.record.outputs.iter();
    let outputs = outputs.filter(|output| !output.control.is_empty() || is_dsc(output));
    let mut binaries = Vec::new();
    let mut files = Vec::new();
    for output in outputs {
        binaries.extend(binary(output));
        let [md5, sha1] = digests(store, output)?;
        let digests = [md5, sha1, output.sha256.to_string()];
        files.push(File { name: &output.file, size: output.size, digests });
    }
    let profiles = package.profiles.join(" ");
    let mut environment: BTreeMap<&str, &str> =
        package.environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    if !profiles.is_empty() {
        environment.insert("DEB_BUILD_PROFILES", &profiles);
    }
    let of_guest = contract::environment(&Stage::Build);
    environment.extend(of_guest.into_iter().filter(|(name, _)| matches!(*name, "LC_ALL" | "TZ")));
    let account = Account {
        source: package.name.as_str(),
        version: &package.version,
        architecture: package.architecture.as_str(),
        binaries: binaries.iter().map(|(name, of)| (&**name, &**of)).collect(),
        files,
        origin: &build.vendor,
        date: build.times().1,
        path: &build_path(package),
        installed: build
            .inputs()
            .map(|one| (&*one.name, &*one.version, &*one.architecture))
            .collect(),
        environment,
    };
    Ok((account.file_name(), account.to_string()))
}

fn is_dsc(output: &Output) -> bool {
    output.file.ends_with(".dsc")
}

/// The name and the architecture of a binary package.
pub(super) fn binary(output: &Output) -> Option<(String, String)> {
    let control = paragraphs(&output.control).next()?.ok()?;
    Some((control.get("Package")?.to_owned(), control.get("Architecture")?.to_owned()))
}

/// The MD5 and the SHA-1 of an output's bytes.
fn digests(store: &Store, output: &Output) -> Result<[String; 2]> {
    let mut file = store.open_object(&output.blake3)?;
    weak_digests(&mut file).map_err(|source| {
        let path = store.object(&output.blake3).unwrap_or_else(|| HostPath::new(&output.file));
        Error::File { path, source }
    })
}

/// MD5 and SHA-1 in hex, which formats of Debian's want beside the digest that counts.
///
/// # Errors
/// Those of reading.
pub fn weak_digests(file: &mut dyn Read) -> io::Result<[String; 2]> {
    let (mut md5, mut sha1) = (Md5::new(), Sha1::new());
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok([hex(&md5.finalize()), hex(&sha1.finalize())]);
        }
        md5.update(&buffer[..count]);
        sha1.update(&buffer[..count]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
