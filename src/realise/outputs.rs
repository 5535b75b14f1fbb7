//! What a build left: checked against what was declared, and stored.

use std::collections::BTreeSet;
use std::fs::File;

use super::error::{Error, Result};
use super::inputs::at;
use super::record::Output;
use crate::archive::deb::{index::BinaryPackage, package};
use crate::base::HostPath;
use crate::graph::derivation::Package;
use crate::store::{Batch, Store};

/// Puts the files in `folder` into a batch for the store, and says what they are, sorted by name;
/// `outputs` are those that the store had before.
///
/// Binary packages must be the declared ones, each at least once and none else; packages of debug
/// symbols, which the distribution's tools add, may come with them. What a file is called must
/// agree with what it says inside.
pub fn keep<'a>(
    store: &'a Store,
    package: &Package,
    folder: &HostPath,
    files: &[String],
    mut outputs: Vec<Output>,
) -> Result<(Vec<Output>, Batch<'a>)> {
    let batch = store.batch();
    for name in files {
        let path = folder.join(name);
        let file = File::open(&path).map_err(at("open", &path))?;
        let object = batch.put_file(file, None)?;
        let control = if name.ends_with(".deb") { control_of(name, &path)? } else { String::new() };
        outputs.push(Output {
            file: name.clone(),
            size: object.size,
            blake3: object.digest,
            sha256: object.sha256,
            control,
        });
    }
    outputs.sort();
    check(package, &outputs)?;
    Ok((outputs, batch))
}

fn control_of(name: &str, path: &HostPath) -> Result<String> {
    let wrong = |reason: String| Error::Output { file: name.to_owned(), reason };
    let file = File::open(path).map_err(at("open", path))?;
    let (control, _) = package::open(file).map_err(|error| wrong(error.to_string()))?;
    Ok(control.paragraph().to_owned())
}

fn check(package: &Package, outputs: &[Output]) -> Result<()> {
    let mut built = BTreeSet::new();
    for output in outputs.iter().filter(|output| !output.control.is_empty()) {
        let wrong = |reason: String| Error::Output { file: output.file.clone(), reason };
        let binary =
            BinaryPackage::from_control(&output.control, &output.file, output.size, output.sha256)
                .map_err(|error| wrong(error.to_string()))?;
        let expected = format!(
            "{}_{}_{}.deb",
            binary.name,
            binary.version.without_epoch(),
            binary.architecture
        );
        if expected != output.file {
            return Err(wrong(format!("says inside that it is `{expected}`")));
        }
        if binary.source != package.name {
            return Err(wrong(format!("says it was built from source `{}`", binary.source)));
        }
        built.insert(binary.name);
    }
    let missing: Vec<String> = package
        .binaries
        .iter()
        .filter(|name| !built.contains(*name))
        .map(ToString::to_string)
        .collect();
    let symbols_of_declared = |name: &str| {
        name.strip_suffix("-dbgsym")
            .is_some_and(|of| package.binaries.iter().any(|declared| declared.as_str() == of))
    };
    let unexpected: Vec<String> = built
        .iter()
        .filter(|name| !package.binaries.contains(name) && !symbols_of_declared(name.as_str()))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() && unexpected.is_empty() {
        Ok(())
    } else {
        Err(Error::OtherOutputs { missing, unexpected })
    }
}
